// The network front end: listeners, I/O threads and their protocols, on top of a model table.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "wire/io_thread.h"
#include "wire/listener.h"
#include "wire/tls_context.h"

namespace falaj::wire {

// Made stopped; then Listen for each address, Start, and in the end AnnounceDrain, Drain and Close. Those are
// called by one thread at a time; Reply and the observers by any. `models` outlives it; no model may be
// closed before Close. Its requests are traced in `tracing`, which it shares with the engine.
class WireServer {
 public:
  WireServer(WireOptions options, const ModelTable& models,
             std::shared_ptr<Tracing> tracing = std::make_shared<Tracing>());
  ~WireServer();

  // `port` 0 is replaced by the one that was picked. Fails once the server was started or closed.
  Status Listen(Wire wire, const std::string& host, uint16_t& port,
                const std::optional<TlsFiles>& tls = std::nullopt);
  // Reads every listener's certificates again. Where any is bad, says why; all keep what they had.
  Status ReloadTls();
  // Does nothing where it was started or closed before.
  void Start();

  // From now on HTTP answers, and once those gRPC connections that are there, tell clients to connect anew
  // elsewhere (Connection: close; GOAWAY); all are still served.
  void AnnounceDrain();
  // Takes no more connections, and ends those that are there when they have been answered.
  void Drain();
  // Ends what is left. Idempotent.
  void Close();

  ControlQueue& control() { return shared_.control; }
  // Returns false where the sender should hold back until it is told that its bytes have left.
  bool Reply(ControlReply reply);

  int64_t connections() const { return shared_.shares.connections(); }
  int64_t requests() const { return shared_.shares.requests(); }
  int64_t buffered_bytes() const { return shared_.shares.buffered_bytes(); }
  const std::vector<std::unique_ptr<IoThread>>& threads() const { return threads_; }

 private:
  static Acceptor::MakeProtocol ProtocolsOf(Wire wire);
  static Acceptor::MakeProtocol Encrypted(Wire wire, std::shared_ptr<TlsContexts> contexts);
  void StopAccepting();

  WireShared shared_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::vector<std::vector<std::unique_ptr<Acceptor>>> acceptors_;  // by thread
  std::vector<std::shared_ptr<TlsContexts>> tls_;                  // shared with the listeners' acceptors
  std::vector<std::string> unix_paths_;                            // to be removed in the end
  bool started_ = false;
  bool closed_ = false;
};

}  // namespace falaj::wire

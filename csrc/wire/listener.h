// Sockets that take connections, one for each I/O thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/file_descriptor.h"
#include "core/status.h"
#include "wire/connection.h"

namespace falaj::wire {

inline constexpr std::string_view kUnixHost = "unix:";

// One socket for each of `count` threads on the same address, so that the kernel spreads connections over
// them (SO_REUSEPORT). `host` is a name, an address, or "unix:<path>", where all share one socket. `port` 0
// is replaced by the one that was picked. Fails with InvalidInput or Unavailable, naming the address.
Result<std::vector<FileDescriptor>> Listen(const std::string& host, uint16_t& port, size_t count);

// Accepts on one thread, which it outlives. All calls but the constructor on that thread.
class Acceptor final : public EventLoop::Source {
 public:
  // Makes the protocol of a connection that was counted in.
  using MakeProtocol = std::function<std::unique_ptr<Protocol>(
      IoThread& thread, Carrier& carrier, const Peer& peer, std::shared_ptr<ClientHoldings> holdings)>;

  Acceptor(IoThread& thread, FileDescriptor socket, Wire wire, MakeProtocol make_protocol);

  void Start();
  void Stop();
  void OnEvents(uint32_t events) override;

 private:
  void Pause();
  void Take(FileDescriptor socket, Peer peer);
  void Refuse(FileDescriptor socket, Refusal why);

  IoThread& thread_;
  FileDescriptor socket_;  // none: it was stopped
  const Wire wire_;
  const MakeProtocol make_protocol_;
};

}  // namespace falaj::wire

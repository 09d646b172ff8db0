// One accepted socket and the protocol that is spoken on it.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>
#include <string>

#include "wire/io_thread.h"
#include "wire/protocol.h"

namespace falaj::wire {

using Socket = boost::asio::generic::stream_protocol::socket;

// Lives on one I/O thread, held by its handlers and by IoThread. Reads when the socket is readable and the
// protocol wants input, at most kReadsPerTurn times a turn; writes at once, at most kWritesPerTurn times, and
// waits only where the kernel takes no more. Counts itself out of ClientShares when it ends.
class Connection final : public Carrier, public std::enable_shared_from_this<Connection> {
 public:
  Connection(IoThread& thread, Socket socket, Peer peer, std::shared_ptr<ClientHoldings> holdings, Wire wire);
  ~Connection() override;

  // `protocol` was made for this connection.
  void Start(std::unique_ptr<Protocol> protocol);
  const Peer& peer() const { return peer_; }

  // Written at the end of the turn: answers that come together leave together.
  void OutputReady() override;
  void WriteNow();
  void InputWanted() override;
  void Tick();
  void EndAnnounced();
  void Drain();
  // At once; what is under way is cancelled.
  void End();

 private:
  void WaitReadable();
  void OnReadable();
  bool ReadOnce();
  void Write();
  void Tell(void (Protocol::*what)());
  void WaitWritable();
  void Settle();
  void Linger();
  void Abort();

  IoThread& thread_;
  Socket socket_;
  const Peer peer_;
  const std::shared_ptr<ClientHoldings> holdings_;
  const Wire wire_;
  std::unique_ptr<Protocol> protocol_;  // none: it has ended, or the rest of its input is being dropped
  bool waits_readable_ = false;
  bool waits_writable_ = false;
  bool input_ended_ = false;
  bool write_later_ = false;      // WriteNow follows in this turn
  bool inside_protocol_ = false;  // Carrier calls are then answered by whoever called the protocol
  bool ended_ = false;
  TimePoint linger_until_{};
  size_t linger_bytes_ = 0;
};

}  // namespace falaj::wire

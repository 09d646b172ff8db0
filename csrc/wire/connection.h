// One accepted socket and the protocol that is spoken on it.
#pragma once

#include <memory>
#include <string>

#include "core/file_descriptor.h"
#include "wire/io_thread.h"
#include "wire/protocol.h"

namespace falaj::wire {

// Lives on one I/O thread, held by IoThread until it ends. Reads when the socket is readable and the protocol
// wants input, at most kReadsPerTurn times a turn; writes at once, at most kWritesPerTurn times, and waits
// only where the kernel takes no more. Counts itself out of ClientShares when it ends.
class Connection final : public Carrier,
                         public EventLoop::Source,
                         public std::enable_shared_from_this<Connection> {
 public:
  // `socket` does not block, and the thread's loop watches nothing of it yet.
  Connection(IoThread& thread, FileDescriptor socket, Peer peer, std::shared_ptr<ClientHoldings> holdings,
             Wire wire);
  ~Connection() override;

  // Has the loop watch it. False: the kernel watches no more; End follows.
  [[nodiscard]] bool Watch();

  // `protocol` was made for this connection.
  void Start(std::unique_ptr<Protocol> protocol);
  const Peer& peer() const { return peer_; }

  void OnEvents(uint32_t events) override;
  // What the bounds of the last turn have left.
  void GoOn();
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
  void GoOnLater();
  void Read();
  void ReadOnce();
  void Write();
  void Tell(void (Protocol::*what)());
  void Settle();
  void Linger();
  void Abort();

  IoThread& thread_;
  FileDescriptor socket_;
  const Peer peer_;
  const std::shared_ptr<ClientHoldings> holdings_;
  const Wire wire_;
  std::unique_ptr<Protocol> protocol_;  // none: it has ended, or the rest of its input is being dropped
  bool readable_ = false;  // the socket may have more to read: it has not said EAGAIN since it was reported
  bool hung_up_ = false;   // the end of the input, or an error, was reported: it lies behind what is there
  bool waits_writable_ = false;
  bool goes_on_ = false;  // GoOn follows in the next turn
  bool input_ended_ = false;
  bool write_later_ = false;      // WriteNow follows in this turn
  bool inside_protocol_ = false;  // Carrier calls are then answered by whoever called the protocol
  bool ended_ = false;
  TimePoint linger_until_{};
  size_t linger_bytes_ = 0;
};

}  // namespace falaj::wire

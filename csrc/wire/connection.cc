#include "wire/connection.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace falaj::wire {
namespace {

// So that one busy connection leaves the others their turn; a write may answer one of many pipelined
// requests.
constexpr int kReadsPerTurn = 4;
constexpr int kWritesPerTurn = 16;
// After our last byte the client's are read for a while: closing a socket with unread input makes the kernel
// reset the connection, and the client would lose the answer.
constexpr auto kLinger = std::chrono::seconds(2);
constexpr size_t kLingerBytes = size_t{4} << 20;

ssize_t Send(int socket, std::span<iovec> pieces) {
  constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
  // The cheaper call for most answers.
  if (pieces.size() == 1) return send(socket, pieces[0].iov_base, pieces[0].iov_len, kFlags);
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  return sendmsg(socket, &message, kFlags);
}

}  // namespace

Connection::Connection(IoThread& thread, FileDescriptor socket, Peer peer,
                       std::shared_ptr<ClientHoldings> holdings, Wire wire)
    : thread_(thread),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      holdings_(std::move(holdings)),
      wire_(wire) {
  thread_.counters(wire_).connections_opened.Add(1);
}

Connection::~Connection() = default;

bool Connection::Watch() { return thread_.loop().Add(socket_.get(), EventLoop::kSocketEvents, this); }

void Connection::Start(std::unique_ptr<Protocol> protocol) {
  protocol_ = std::move(protocol);
  readable_ = true;  // the first request has often come with the connection
  Read();
}

void Connection::OnEvents(uint32_t events) {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) hung_up_ = true;
  if (hung_up_ || (events & EPOLLIN) != 0) readable_ = true;
  if ((events & EPOLLOUT) != 0 && std::exchange(waits_writable_, false)) {
    Write();
    Settle();
  }
  if (readable_) Read();
}

void Connection::GoOnLater() {
  if (std::exchange(goes_on_, true)) return;
  thread_.GoOnLater(shared_from_this());
}

void Connection::GoOn() {
  goes_on_ = false;
  if (ended_) return;
  Write();
  readable_ ? Read() : Settle();
}

void Connection::Read() {
  if (ended_) return;
  if (protocol_ == nullptr) return Linger();
  for (int i = 0;
       i < kReadsPerTurn && readable_ && protocol_ != nullptr && !input_ended_ && protocol_->WantsInput();
       ++i) {
    ReadOnce();
  }
  Write();
  Settle();
}

void Connection::ReadOnce() {
  const std::span<std::byte> room = protocol_->InputRoom();
  if (room.empty()) return End();  // no memory
  const ssize_t got = recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EINTR) return;
    readable_ = false;
    if (errno != EAGAIN) End();
    return;
  }
  // Less than there was room for is all there was, unless an end lies behind it.
  readable_ = static_cast<size_t>(got) == room.size() || hung_up_;
  inside_protocol_ = true;
  if (got == 0) {
    input_ended_ = true;
    protocol_->InputEnded();
  } else {
    protocol_->Received(static_cast<size_t>(got));
  }
  inside_protocol_ = false;
}

void Connection::Write() {
  if (waits_writable_ || protocol_ == nullptr) return;
  inside_protocol_ = true;
  for (int writes = 0;; ++writes) {
    std::array<iovec, 16> room;
    const std::span<iovec> pieces(room.data(), protocol_->Output(room));
    if (pieces.empty()) break;
    if (writes == kWritesPerTurn) {
      GoOnLater();
      break;
    }
    const ssize_t sent = Send(socket_.get(), pieces);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      waits_writable_ = errno == EAGAIN;
      if (!waits_writable_) End();
      break;
    }
    protocol_->Wrote(static_cast<size_t>(sent));
  }
  inside_protocol_ = false;
}

// Does what the protocol's state asks for, after it was given bytes, time or answers.
void Connection::Settle() {
  if (ended_ || protocol_ == nullptr) return;
  if (!protocol_->Finished()) {
    if (readable_ && !input_ended_ && protocol_->WantsInput()) GoOnLater();
    return;
  }
  if (waits_writable_) return;  // its last bytes are still to go
  thread_.Bury(shared_from_this(), std::move(protocol_));
  if (input_ended_) return End();
  shutdown(socket_.get(), SHUT_WR);
  linger_until_ = thread_.Now() + kLinger;
  if (readable_) GoOnLater();
}

void Connection::Linger() {
  std::array<char, 16 * 1024> dropped;
  for (int i = 0; i < kReadsPerTurn && readable_; ++i) {
    const ssize_t got = recv(socket_.get(), dropped.data(), dropped.size(), MSG_DONTWAIT);
    if (got > 0) linger_bytes_ += static_cast<size_t>(got);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return End();
    readable_ = got > 0 || errno == EINTR;
  }
  if (linger_bytes_ > kLingerBytes) return End();
  if (readable_) GoOnLater();
}

void Connection::OutputReady() {
  if (inside_protocol_ || ended_ || write_later_) return;
  write_later_ = true;
  thread_.WriteLater(shared_from_this());
}

void Connection::WriteNow() {
  write_later_ = false;
  if (ended_) return;
  Write();
  Settle();
}

void Connection::InputWanted() {
  if (inside_protocol_ || ended_) return;
  Settle();
}

void Connection::Tick() {
  if (ended_) return;
  if (protocol_ == nullptr) {
    if (thread_.Now() > linger_until_) End();
    return;
  }
  inside_protocol_ = true;
  protocol_->Tick();
  inside_protocol_ = false;
  Write();
  if (protocol_ != nullptr && protocol_->Finished() && waits_writable_) return Abort();
  Settle();
}

void Connection::EndAnnounced() { Tell(&Protocol::EndAnnounced); }

void Connection::Drain() { Tell(&Protocol::Drain); }

void Connection::Tell(void (Protocol::*what)()) {
  if (ended_ || protocol_ == nullptr) return;
  inside_protocol_ = true;
  (protocol_.get()->*what)();
  inside_protocol_ = false;
  Write();
  Settle();
}

// The protocol gave up on a client that takes nothing: what the kernel still holds for it is dropped too.
void Connection::Abort() {
  const linger at_once{1, 0};
  setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  End();
}

void Connection::End() {
  if (ended_) return;
  ended_ = true;
  // Whoever is calling it still holds it when this turn ends.
  thread_.Bury(shared_from_this(), std::move(protocol_));
  thread_.loop().Remove(socket_.get(), this);
  // Closing alone would leave it open where a process that was forked from this one holds it too.
  shutdown(socket_.get(), SHUT_RDWR);
  socket_.Close();
  thread_.counters(wire_).connections_closed.Add(1);
  if (holdings_ != nullptr) thread_.shares().Disconnect(peer_.address, holdings_);
  thread_.Remove(shared_from_this());
}

}  // namespace falaj::wire

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

Connection::Connection(IoThread& thread, Socket socket, Peer peer, std::shared_ptr<ClientHoldings> holdings,
                       Wire wire)
    : thread_(thread),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      holdings_(std::move(holdings)),
      wire_(wire) {}

Connection::~Connection() = default;

void Connection::Start(std::unique_ptr<Protocol> protocol) {
  protocol_ = std::move(protocol);
  thread_.counters(wire_).connections_opened.Add(1);
  OnReadable();  // the first request has often come with the connection
}

void Connection::WaitReadable() {
  if (waits_readable_ || ended_) return;
  waits_readable_ = true;
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](const boost::system::error_code&) {
    self->waits_readable_ = false;
    self->OnReadable();
  });
}

void Connection::OnReadable() {
  if (ended_) return;
  if (protocol_ == nullptr) return Linger();
  for (int i = 0; i < kReadsPerTurn && protocol_ != nullptr && !input_ended_ && protocol_->WantsInput();
       ++i) {
    if (!ReadOnce()) break;
  }
  Write();
  Settle();
}

// Returns whether more may be there.
bool Connection::ReadOnce() {
  const std::span<std::byte> room = protocol_->InputRoom();
  if (room.empty()) {
    End();  // no memory
    return false;
  }
  const ssize_t got = recv(socket_.native_handle(), room.data(), room.size(), MSG_DONTWAIT);
  if (got < 0) {
    if (errno != EAGAIN && errno != EINTR) End();
    return false;
  }
  inside_protocol_ = true;
  if (got == 0) {
    input_ended_ = true;
    protocol_->InputEnded();
  } else {
    protocol_->Received(static_cast<size_t>(got));
  }
  inside_protocol_ = false;
  return got > 0 && static_cast<size_t>(got) == room.size();
}

void Connection::Write() {
  if (waits_writable_ || protocol_ == nullptr) return;
  inside_protocol_ = true;
  for (int writes = 0;; ++writes) {
    std::array<iovec, 16> room;
    const std::span<iovec> pieces(room.data(), protocol_->Output(room));
    if (pieces.empty()) break;
    if (writes == kWritesPerTurn) {
      WaitWritable();  // which it is, most likely: the rest in another turn
      break;
    }
    const ssize_t sent = Send(socket_.native_handle(), pieces);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) {
      WaitWritable();
      break;
    }
    if (sent < 0) {
      End();
      break;
    }
    protocol_->Wrote(static_cast<size_t>(sent));
  }
  inside_protocol_ = false;
}

void Connection::WaitWritable() {
  waits_writable_ = true;
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](const boost::system::error_code&) {
    self->waits_writable_ = false;
    if (self->ended_) return;
    self->Write();
    self->Settle();
  });
}

// Does what the protocol's state asks for, after it was given bytes, time or answers.
void Connection::Settle() {
  if (ended_ || protocol_ == nullptr) return;
  if (!protocol_->Finished()) {
    if (!input_ended_ && protocol_->WantsInput()) WaitReadable();
    return;
  }
  if (waits_writable_) return;  // its last bytes are still to go
  thread_.Bury(shared_from_this(), std::move(protocol_));
  if (input_ended_) return End();
  boost::system::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  linger_until_ = thread_.Now() + kLinger;
  WaitReadable();
}

void Connection::Linger() {
  std::array<char, 16 * 1024> dropped;
  const ssize_t got = recv(socket_.native_handle(), dropped.data(), dropped.size(), MSG_DONTWAIT);
  if (got > 0) linger_bytes_ += static_cast<size_t>(got);
  const bool again = got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
  if (!again || linger_bytes_ > kLingerBytes) return End();
  WaitReadable();
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
  boost::system::error_code ignored;
  socket_.set_option(boost::asio::socket_base::linger(true, 0), ignored);
  End();
}

void Connection::End() {
  if (ended_) return;
  ended_ = true;
  if (protocol_ != nullptr) thread_.Bury(shared_from_this(), std::move(protocol_));
  boost::system::error_code ignored;
  // Closing alone would leave it open where a process that was forked from this one holds it too.
  socket_.shutdown(Socket::shutdown_both, ignored);
  socket_.close(ignored);
  thread_.counters(wire_).connections_closed.Add(1);
  if (holdings_ != nullptr) thread_.shares().Disconnect(peer_.address, holdings_);
  thread_.Remove(shared_from_this());
}

}  // namespace falaj::wire

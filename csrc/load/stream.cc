#include "load/stream.h"

#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

namespace falaj::load {
namespace {

constexpr const char* kClosed = "the server closed a connection";

int MostInt(size_t bytes) { return static_cast<int>(std::min<size_t>(bytes, INT_MAX)); }

}  // namespace

Stream::Stream(FileDescriptor socket, TlsHandle tls) : socket_(std::move(socket)), tls_(std::move(tls)) {}

bool Stream::Establish() {
  if (stage_ == Stage::kConnecting) {
    pollfd ready{socket_.get(), POLLOUT, 0};
    if (poll(&ready, 1, 0) == 0) return true;
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
    if (error != 0) return Fail(Failure::kConnect, std::strerror(error)) >= 0;
    stage_ = tls_ == nullptr ? Stage::kOpen : Stage::kHandshake;
  }
  return stage_ != Stage::kHandshake || Shake();
}

bool Stream::Shake() {
  ERR_clear_error();
  const int done = SSL_do_handshake(tls_.get());
  if (done == 1) {
    stage_ = Stage::kOpen;
    return true;
  }
  const int error = SSL_get_error(tls_.get(), done);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return true;
  return Fail(Failure::kTls, "no TLS connection was made: " + TlsComplaint(tls_.get())) >= 0;
}

ssize_t Stream::Read(std::span<char> room) {
  if (tls_ == nullptr) return Moved(recv(socket_.get(), room.data(), room.size(), 0));
  ERR_clear_error();
  return MovedByTls(SSL_read(tls_.get(), room.data(), MostInt(room.size())));
}

ssize_t Stream::Write(std::string_view bytes) {
  if (tls_ == nullptr) return Moved(send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
  ERR_clear_error();
  return MovedByTls(SSL_write(tls_.get(), bytes.data(), MostInt(bytes.size())));
}

ssize_t Stream::Moved(ssize_t count) {
  if (count > 0) return count;
  if (count == 0) return Fail(Failure::kClosed, kClosed);
  if (errno == EAGAIN || errno == EINTR) return 0;
  if (errno == EPIPE) return Fail(Failure::kClosed, kClosed);
  return Fail(Failure::kReset, std::string(kClosed) + ": " + std::strerror(errno));
}

ssize_t Stream::MovedByTls(int count) {
  if (count > 0) return count;
  const int why = errno;
  const int error = SSL_get_error(tls_.get(), count);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return 0;
  if (error == SSL_ERROR_ZERO_RETURN) return Fail(Failure::kClosed, kClosed);
  if (error == SSL_ERROR_SYSCALL && why != 0 && why != EPIPE) {
    return Fail(Failure::kReset, std::string(kClosed) + ": " + std::strerror(why));
  }
  // Most servers end the TCP connection without saying so in TLS first.
  if (error == SSL_ERROR_SYSCALL || ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return Fail(Failure::kClosed, kClosed);
  }
  return Fail(Failure::kTls, "TLS failed: " + TlsComplaint(tls_.get()));
}

ssize_t Stream::Fail(Failure failure, std::string problem) {
  stage_ = Stage::kFailed;
  failure_ = {failure};
  problem_ = std::move(problem);
  return -1;
}

}  // namespace falaj::load

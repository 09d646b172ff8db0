#include "join/redis_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

namespace falaj {
namespace {

constexpr size_t kRecord = 16 * 1024;  // the most that a TLS record carries

Status Late(const std::string& name) {
  return DeadlineExceeded("online store " + name + ": no answer within the time for it");
}

// 1: `events` or an error are there; 0: the deadline has passed.
int PollUntil(int fd, short events, TimePoint deadline) {
  for (;;) {
    const Nanos left = std::max(deadline - std::chrono::steady_clock::now(), Nanos::zero());
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    const timespec wait{seconds.count(), (left - seconds).count()};
    pollfd of{fd, events, 0};
    const int ready = ppoll(&of, 1, &wait, nullptr);
    if (ready >= 0 || errno != EINTR) return ready;
  }
}

// 0, or what went wrong as errno has it.
int ConnectTo(const SocketAddress& address, TimePoint deadline, FileDescriptor& fd) {
  fd = FileDescriptor(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno;
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (PollUntil(fd.get(), POLLOUT, deadline) == 0) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

}  // namespace

Result<std::unique_ptr<RedisSocket>> RedisSocket::Connect(RedisAddress& address, SSL_CTX* tls,
                                                          TimePoint deadline) {
  const auto found = address.Find(deadline);
  if (!found.ok()) return found.status();
  const std::vector<SocketAddress>& addresses = found.value();
  FileDescriptor fd;
  int error = 0;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const TimePoint now = std::chrono::steady_clock::now();
    error = ConnectTo(addresses[i], now + (deadline - now) / static_cast<int64_t>(addresses.size() - i), fd);
    if (error == 0) break;
  }
  if (error == ETIMEDOUT) return Late(address.text());
  if (error != 0) {
    return Unavailable("online store " + address.text() + ": cannot be reached: " + std::strerror(error));
  }
  TlsHandle ssl;
  if (tls != nullptr) {
    ssl = NewTlsConnection(tls, address.host(), address.numeric());
    if (ssl == nullptr) return Unavailable("online store: TLS: no memory is left");
  }
  std::unique_ptr<RedisSocket> made(new RedisSocket(std::move(fd), std::move(ssl), address.text()));
  if (tls != nullptr) FALAJ_RETURN_IF_ERROR(made->Handshake(deadline));
  return made;
}

Status RedisSocket::Cut(const std::string& why) const {
  return Unavailable("online store " + name_ + ": the connection was cut: " + why);
}

Status RedisSocket::Wait(short events, TimePoint deadline) const {
  if (std::chrono::steady_clock::now() >= deadline) return Late(name_);
  const int ready = PollUntil(fd_.get(), events, deadline);
  if (ready < 0) return Cut(std::strerror(errno));
  return ready == 0 ? Late(name_) : Status::Ok();
}

bool RedisSocket::Quiet() {
  pollfd of{fd_.get(), POLLIN, 0};
  if (poll(&of, 1, 0) != 0) return false;
  if (tls_ == nullptr) return true;
  char byte = 0;  // what came with the last answer and was not taken
  ERR_clear_error();
  return SSL_get_error(tls_.get(), SSL_read(tls_.get(), &byte, 1)) == SSL_ERROR_WANT_READ;
}

Status RedisSocket::SendRaw(std::string_view bytes, TimePoint deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      FALAJ_RETURN_IF_ERROR(Wait(POLLOUT, deadline));
    } else if (errno != EINTR) {
      return Cut(std::strerror(errno));
    }
  }
  return Status::Ok();
}

Result<size_t> RedisSocket::ReceiveRaw(std::span<char> room, TimePoint deadline) {
  for (;;) {
    // Before bytes that are there already, too: a server that never ends must not be read forever.
    FALAJ_RETURN_IF_ERROR(Wait(POLLIN, deadline));
    const ssize_t got = recv(fd_.get(), room.data(), room.size(), 0);
    if (got > 0) return static_cast<size_t>(got);
    if (got == 0) return Cut("the server closed it");
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return Cut(std::strerror(errno));
  }
}

Status RedisSocket::Handshake(TimePoint deadline) {
  for (;;) {
    ERR_clear_error();
    const int result = SSL_do_handshake(tls_.get());
    const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls_.get(), result);
    const std::string complaint =
        error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ ? "" : TlsComplaint(tls_.get());
    FALAJ_RETURN_IF_ERROR(SendEncrypted(deadline));  // its alert too
    if (result == 1) return Status::Ok();
    if (!complaint.empty()) return Unavailable("online store " + name_ + ": TLS: " + complaint);
    const Status received = ReceiveEncrypted(deadline);
    if (received.code() == Code::kDeadlineExceeded) {
      return DeadlineExceeded("online store " + name_ + ": no TLS handshake within the time for it");
    }
    FALAJ_RETURN_IF_ERROR(received);
  }
}

// Sends what OpenSSL has put out.
Status RedisSocket::SendEncrypted(TimePoint deadline) {
  std::array<char, kRecord> bytes;
  BIO* const out = SSL_get_wbio(tls_.get());
  while (BIO_pending(out) > 0) {
    const int got = BIO_read(out, bytes.data(), static_cast<int>(bytes.size()));
    if (got <= 0) break;
    FALAJ_RETURN_IF_ERROR(SendRaw({bytes.data(), static_cast<size_t>(got)}, deadline));
  }
  return Status::Ok();
}

// Hands OpenSSL what comes.
Status RedisSocket::ReceiveEncrypted(TimePoint deadline) {
  std::array<char, kRecord> bytes;
  const auto got = ReceiveRaw(bytes, deadline);
  if (!got.ok()) return got.status();
  if (BIO_write(SSL_get_rbio(tls_.get()), bytes.data(), static_cast<int>(got.value())) <= 0) {
    return Cut("no memory is left");
  }
  return Status::Ok();
}

Status RedisSocket::Send(std::string_view bytes, TimePoint deadline) {
  if (tls_ == nullptr) return SendRaw(bytes, deadline);
  while (!bytes.empty()) {
    const size_t piece = std::min(bytes.size(), kRecord);
    ERR_clear_error();
    if (SSL_write(tls_.get(), bytes.data(), static_cast<int>(piece)) != static_cast<int>(piece)) {
      return Cut("TLS: " + TlsComplaint(nullptr));
    }
    FALAJ_RETURN_IF_ERROR(SendEncrypted(deadline));
    bytes.remove_prefix(piece);
  }
  return Status::Ok();
}

Result<size_t> RedisSocket::Receive(std::span<char> room, TimePoint deadline) {
  if (tls_ == nullptr) return ReceiveRaw(room, deadline);
  for (;;) {
    ERR_clear_error();
    const int got =
        SSL_read(tls_.get(), room.data(), static_cast<int>(std::min<size_t>(room.size(), INT_MAX)));
    if (got > 0) return static_cast<size_t>(got);
    const int error = SSL_get_error(tls_.get(), got);
    if (error == SSL_ERROR_ZERO_RETURN) return Cut("the server closed it");
    if (error != SSL_ERROR_WANT_READ) return Cut("TLS: " + TlsComplaint(nullptr));
    FALAJ_RETURN_IF_ERROR(SendEncrypted(deadline));
    FALAJ_RETURN_IF_ERROR(ReceiveEncrypted(deadline));
  }
}

}  // namespace falaj

#include "sockets.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <memory>

#include "fatal.h"

namespace falaj::bench {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

AddressList Resolve(const std::string& host, uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_flags = flags | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) Fatal(host + ": " + gai_strerror(error));
  return {found, &freeaddrinfo};
}

void SetOption(int fd, int level, int option) {
  const int on = 1;
  if (setsockopt(fd, level, option, &on, sizeof(on)) != 0) FatalErrno("cannot set up a socket");
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

FileDescriptor ListenOn(const std::string& host, uint16_t& port) {
  const AddressList address = Resolve(host, port, AI_PASSIVE);
  FileDescriptor made(socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!made.valid()) FatalErrno("cannot make a socket");
  SetOption(made.get(), SOL_SOCKET, SO_REUSEADDR);
  SetOption(made.get(), SOL_SOCKET, SO_REUSEPORT);
  sockaddr_storage bound{};
  socklen_t length = sizeof(bound);
  auto* const raw = reinterpret_cast<sockaddr*>(&bound);
  if (bind(made.get(), address->ai_addr, address->ai_addrlen) != 0 || listen(made.get(), 1024) != 0 ||
      getsockname(made.get(), raw, &length) != 0) {
    FatalErrno("cannot listen on " + host + ":" + std::to_string(port));
  }
  port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                           : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  return made;
}

FileDescriptor AcceptFrom(const FileDescriptor& listener) {
  FileDescriptor made(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (made.valid()) SetOption(made.get(), IPPROTO_TCP, TCP_NODELAY);
  return made;
}

FileDescriptor ConnectTo(const std::string& host, uint16_t port) {
  const AddressList address = Resolve(host, port, 0);
  FileDescriptor made(socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!made.valid()) FatalErrno("cannot make a socket");
  if (connect(made.get(), address->ai_addr, address->ai_addrlen) != 0) return {};
  SetOption(made.get(), IPPROTO_TCP, TCP_NODELAY);
  if (fcntl(made.get(), F_SETFL, O_NONBLOCK) != 0) FatalErrno("cannot make a socket non-blocking");
  return made;
}

Epoll::Epoll() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_.valid()) FatalErrno("cannot make an epoll");
}

void Epoll::Add(int fd, uint32_t events, uint64_t tag) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) FatalErrno("cannot wait for a socket");
}

std::span<const epoll_event> Epoll::Wait(std::chrono::nanoseconds timeout) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  timespec limit{};
  limit.tv_sec = seconds.count();
  limit.tv_nsec = (timeout - seconds).count();
  const int count = epoll_pwait2(epoll_.get(), events_.data(), static_cast<int>(events_.size()),
                                 timeout.count() < 0 ? nullptr : &limit, nullptr);
  if (count < 0 && errno != EINTR) FatalErrno("cannot wait for sockets");
  return {events_.data(), static_cast<size_t>(count < 0 ? 0 : count)};
}

}  // namespace falaj::bench

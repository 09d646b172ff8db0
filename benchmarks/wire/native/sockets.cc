#include "sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

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

}  // namespace falaj::bench

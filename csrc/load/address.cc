#include "load/address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace falaj::load {
namespace {

constexpr int kPatienceMs = 2000;

Address AddressOf(const addrinfo& found) {
  Address address;
  std::memcpy(&address.bytes, found.ai_addr, found.ai_addrlen);
  address.length = found.ai_addrlen;
  return address;
}

bool TakesConnections(const Address& address) {
  const FileDescriptor socket = BeginConnecting(address);
  pollfd ready{socket.get(), POLLOUT, 0};
  int error = 0;
  socklen_t length = sizeof(error);
  return socket.valid() && poll(&ready, 1, kPatienceMs) == 1 &&
         getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}

}  // namespace

Result<Address> Resolve(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return Unavailable(host + ": " + gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, &freeaddrinfo);
  if (list->ai_next != nullptr) {
    for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) {
      if (Address address = AddressOf(*at); TakesConnections(address)) return address;
    }
  }
  return AddressOf(*list);
}

FileDescriptor BeginConnecting(const Address& address) {
  FileDescriptor made(socket(address.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!made.valid()) return made;
  const int on = 1;
  if (setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) return {};
  const auto* const raw = reinterpret_cast<const sockaddr*>(&address.bytes);
  if (connect(made.get(), raw, address.length) != 0 && errno != EINPROGRESS) {
    const int why = errno;
    made.Close();
    errno = why;
  }
  return made;
}

}  // namespace falaj::load

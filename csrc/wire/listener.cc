#include "wire/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace falaj::wire {
namespace {

constexpr int kAcceptsPerTurn = 64;
// Out of descriptors: accepting again at once would only fail again.
constexpr auto kPause = std::chrono::milliseconds(100);

constexpr std::string_view kRefused =
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    "content-length: 51\r\nconnection: close\r\n\r\n{\"error\":\"the server has too many connections now\"}";

Status Failed(const std::string& where) {
  return Unavailable("cannot listen on " + where + ": " + std::strerror(errno));
}

Result<ListeningSocket> BindInternet(const addrinfo& address, const std::string& where) {
  ListeningSocket made(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (made.fd() < 0 || setsockopt(made.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      setsockopt(made.fd(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
      bind(made.fd(), address.ai_addr, address.ai_addrlen) != 0 || listen(made.fd(), 4096) != 0) {
    return Failed(where);
  }
  return made;
}

// A socket that nobody listens on any more, as a process that was killed leaves it; any other file refuses
// connections too.
bool IsSocket(const std::string& path) {
  struct stat file {};
  return lstat(path.c_str(), &file) == 0 && S_ISSOCK(file.st_mode);
}

uint16_t PortOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

Result<std::vector<ListeningSocket>> ListenUnix(const std::string& path, size_t count) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return InvalidInput("unix socket '" + path + "': expected a path of 1 to " +
                        std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  {
    const ListeningSocket probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(probe.fd(), raw, sizeof(address)) == 0) {
      return Unavailable("cannot listen on unix socket '" + path + "': another process does");
    }
    if (errno == ECONNREFUSED && IsSocket(path)) unlink(path.c_str());
  }
  ListeningSocket made(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (made.fd() < 0 || bind(made.fd(), raw, sizeof(address)) != 0 || listen(made.fd(), 4096) != 0) {
    return Failed("unix socket '" + path + "'");
  }
  std::vector<ListeningSocket> sockets;
  for (size_t i = 1; i < count; ++i) sockets.emplace_back(fcntl(made.fd(), F_DUPFD_CLOEXEC, 0));
  sockets.push_back(std::move(made));
  for (const ListeningSocket& socket : sockets) {
    if (socket.fd() < 0) return Unavailable("no file descriptor is left for unix socket '" + path + "'");
  }
  return sockets;
}

Peer PeerOf(const sockaddr_storage& address) {
  Peer peer;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text.data(), text.size());
  } else if (address.ss_family == AF_INET6) {
    const in6_addr& raw = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&raw);
    inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? &raw.s6_addr[12] : raw.s6_addr, text.data(), text.size());
  }
  peer.address = text[0] != '\0' ? text.data() : "unix";
  peer.port = PortOf(address);
  return peer;
}

}  // namespace

ListeningSocket::~ListeningSocket() {
  if (fd_ >= 0) close(fd_);
}

Result<std::vector<ListeningSocket>> Listen(const std::string& host, uint16_t& port, size_t count) {
  if (host.starts_with(kUnixHost)) return ListenUnix(host.substr(kUnixHost.size()), count);
  std::vector<ListeningSocket> sockets;
  while (sockets.size() < count) {
    const std::string where = host + ":" + std::to_string(port);
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
        error != 0) {
      return InvalidInput("cannot listen on " + where + ": " + gai_strerror(error));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
    auto made = BindInternet(*found, where);
    if (!made.ok()) return made.status();
    sockaddr_storage bound{};
    socklen_t length = sizeof(bound);
    if (getsockname(made->fd(), reinterpret_cast<sockaddr*>(&bound), &length) != 0) return Failed(where);
    port = PortOf(bound);
    sockets.push_back(std::move(*made));
  }
  return sockets;
}

Acceptor::Acceptor(IoThread& thread, ListeningSocket socket, Wire wire, MakeProtocol make_protocol)
    : thread_(thread),
      socket_(thread.context(), socket.Release()),
      pause_(thread.context()),
      wire_(wire),
      make_protocol_(std::move(make_protocol)) {}

void Acceptor::Start() { Wait(); }

void Acceptor::Stop() {
  stopped_ = true;
  // A process that was forked from this one would keep it listening.
  shutdown(socket_.native_handle(), SHUT_RDWR);
  boost::system::error_code ignored;
  socket_.close(ignored);
  pause_.cancel();
}

void Acceptor::Wait() {
  if (stopped_) return;
  socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       if (!error) self->AcceptReady();
                     });
}

void Acceptor::AcceptReady() {
  for (int i = 0; i < kAcceptsPerTurn && !stopped_; ++i) {
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    const int fd = accept4(socket_.native_handle(), reinterpret_cast<sockaddr*>(&address), &length,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Take(fd, PeerOf(address));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      thread_.counters(wire_).Refuse(Refusal::kConnections);
      pause_.expires_after(kPause);
      pause_.async_wait([self = shared_from_this()](const boost::system::error_code&) { self->Wait(); });
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      break;  // none is left
    }
  }
  Wait();
}

void Acceptor::Take(int fd, Peer peer) {
  std::shared_ptr<ClientHoldings> holdings;
  if (const auto refusal = thread_.shares().Connect(peer.address, holdings)) return Refuse(fd, *refusal);
  const int on = 1;
  if (peer.port != 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const int family = peer.port == 0 ? AF_UNIX : AF_INET;  // closes the same way whichever it is
  Socket socket(thread_.context());
  boost::system::error_code error;
  socket.assign(boost::asio::generic::stream_protocol(family, 0), fd, error);
  if (error) {  // the kernel watches no more descriptors
    thread_.shares().Disconnect(peer.address, holdings);
    return Refuse(fd, Refusal::kConnections);
  }
  auto connection =
      std::make_shared<Connection>(thread_, std::move(socket), std::move(peer), holdings, wire_);
  thread_.Add(connection);
  connection->Start(make_protocol_(thread_, *connection, connection->peer(), std::move(holdings)));
}

// Best effort: a client whose request is already under way may see a reset instead.
void Acceptor::Refuse(int fd, Refusal why) {
  const ListeningSocket owned(fd);
  thread_.counters(wire_).Refuse(why);
  if (wire_ == Wire::kGrpc) return;
  [[maybe_unused]] const ssize_t sent =
      send(fd, kRefused.data(), kRefused.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  shutdown(fd, SHUT_WR);
  std::array<char, 4096> dropped;
  while (recv(fd, dropped.data(), dropped.size(), MSG_DONTWAIT) > 0) {
  }
}

}  // namespace falaj::wire

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

Result<FileDescriptor> BindInternet(const addrinfo& address, const std::string& where) {
  FileDescriptor made(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!made.valid() || setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      setsockopt(made.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
      bind(made.get(), address.ai_addr, address.ai_addrlen) != 0 || listen(made.get(), 4096) != 0) {
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

Result<std::vector<FileDescriptor>> ListenUnix(const std::string& path, size_t count) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return InvalidInput("unix socket '" + path + "': expected a path of 1 to " +
                        std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  {
    const FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(probe.get(), raw, sizeof(address)) == 0) {
      return Unavailable("cannot listen on unix socket '" + path + "': another process does");
    }
    if (errno == ECONNREFUSED && IsSocket(path)) unlink(path.c_str());
  }
  FileDescriptor made(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!made.valid() || bind(made.get(), raw, sizeof(address)) != 0 || listen(made.get(), 4096) != 0) {
    return Failed("unix socket '" + path + "'");
  }
  std::vector<FileDescriptor> sockets;
  for (size_t i = 1; i < count; ++i) sockets.emplace_back(fcntl(made.get(), F_DUPFD_CLOEXEC, 0));
  sockets.push_back(std::move(made));
  for (const FileDescriptor& socket : sockets) {
    if (!socket.valid()) return Unavailable("no file descriptor is left for unix socket '" + path + "'");
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

Result<std::vector<FileDescriptor>> Listen(const std::string& host, uint16_t& port, size_t count) {
  if (host.starts_with(kUnixHost)) return ListenUnix(host.substr(kUnixHost.size()), count);
  std::vector<FileDescriptor> sockets;
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
    if (getsockname(made->get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0) return Failed(where);
    port = PortOf(bound);
    sockets.push_back(std::move(*made));
  }
  return sockets;
}

Acceptor::Acceptor(IoThread& thread, FileDescriptor socket, Wire wire, MakeProtocol make_protocol)
    : thread_(thread), socket_(std::move(socket)), wire_(wire), make_protocol_(std::move(make_protocol)) {}

void Acceptor::Start() {
  if (socket_.valid() && !thread_.loop().Add(socket_.get(), EventLoop::kListenerEvents, this)) Pause();
}

void Acceptor::Stop() {
  if (!socket_.valid()) return;
  thread_.loop().Remove(socket_.get(), this);
  // A process that was forked from this one would keep it listening.
  shutdown(socket_.get(), SHUT_RDWR);
  socket_.Close();
}

void Acceptor::Pause() {
  thread_.loop().Remove(socket_.get(), this);
  thread_.loop().At(std::chrono::steady_clock::now() + kPause, [this] { Start(); });
}

void Acceptor::OnEvents(uint32_t /*events*/) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    FileDescriptor accepted(
        accept4(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (accepted.valid()) {
      Take(std::move(accepted), PeerOf(address));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      thread_.counters(wire_).Refuse(Refusal::kConnections);
      return Pause();
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;  // none is left
    }
  }
}

void Acceptor::Take(FileDescriptor socket, Peer peer) {
  std::shared_ptr<ClientHoldings> holdings;
  if (const auto refusal = thread_.shares().Connect(peer.address, holdings)) {
    return Refuse(std::move(socket), *refusal);
  }
  const int on = 1;
  if (peer.port != 0) setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  auto connection =
      std::make_shared<Connection>(thread_, std::move(socket), std::move(peer), holdings, wire_);
  thread_.Add(connection);
  if (!connection->Watch()) {
    thread_.counters(wire_).Refuse(Refusal::kConnections);
    return connection->End();
  }
  connection->Start(make_protocol_(thread_, *connection, connection->peer(), std::move(holdings)));
}

// Best effort: a client whose request is already under way may see a reset instead.
void Acceptor::Refuse(FileDescriptor socket, Refusal why) {
  thread_.counters(wire_).Refuse(why);
  if (wire_ == Wire::kGrpc) return;
  [[maybe_unused]] const ssize_t sent =
      send(socket.get(), kRefused.data(), kRefused.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  shutdown(socket.get(), SHUT_WR);
  std::array<char, 4096> dropped;
  while (recv(socket.get(), dropped.data(), dropped.size(), MSG_DONTWAIT) > 0) {
  }
}

}  // namespace falaj::wire

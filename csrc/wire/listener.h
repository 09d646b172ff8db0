// Sockets that take connections, one for each I/O thread.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "wire/connection.h"

namespace falaj::wire {

// A bound and listening socket. Owned.
class ListeningSocket {
 public:
  ListeningSocket() = default;
  explicit ListeningSocket(int fd) : fd_(fd) {}
  ListeningSocket(ListeningSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ListeningSocket& operator=(ListeningSocket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~ListeningSocket();
  int fd() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

inline constexpr std::string_view kUnixHost = "unix:";

// One socket for each of `count` threads on the same address, so that the kernel spreads connections over
// them (SO_REUSEPORT). `host` is a name, an address, or "unix:<path>", where all share one socket. `port` 0
// is replaced by the one that was picked. Fails with InvalidInput or Unavailable, naming the address.
Result<std::vector<ListeningSocket>> Listen(const std::string& host, uint16_t& port, size_t count);

// Accepts on one thread. All calls but the constructor on that thread.
class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  // Makes the protocol of a connection that was counted in.
  using MakeProtocol = std::function<std::unique_ptr<Protocol>(
      IoThread& thread, Carrier& carrier, const Peer& peer, std::shared_ptr<ClientHoldings> holdings)>;

  Acceptor(IoThread& thread, ListeningSocket socket, Wire wire, MakeProtocol make_protocol);

  void Start();
  void Stop();

 private:
  void Wait();
  void AcceptReady();
  void Take(int fd, Peer peer);
  void Refuse(int fd, Refusal why);

  IoThread& thread_;
  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer pause_;
  const Wire wire_;
  const MakeProtocol make_protocol_;
  bool stopped_ = false;
};

}  // namespace falaj::wire

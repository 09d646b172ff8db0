// Non-blocking TCP sockets and waiting for them.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace falaj::bench {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  int get() const { return fd_; }
  // The caller closes it.
  int Release() { return std::exchange(fd_, -1); }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A listening socket of its own on a port that others may listen on too (SO_REUSEPORT): one a thread. Port 0
// picks a free one and says which. Ends the program where it cannot be had.
FileDescriptor ListenOn(const std::string& host, uint16_t& port);
// A connection that waits to be accepted, non-blocking and without Nagle's delay; not valid: there is none.
FileDescriptor AcceptFrom(const FileDescriptor& listener);
// Waits for the connection. Not valid where it was refused; errno says why.
FileDescriptor ConnectTo(const std::string& host, uint16_t port);

// Sockets are added once, for reading and writing, edge-triggered: whoever is woken reads and writes until
// the socket says that there is no more, and nothing is ever asked of epoll again.
class Epoll {
 public:
  Epoll();
  void Add(int fd, uint64_t tag) { Add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, tag); }
  void Add(int fd, uint32_t events, uint64_t tag);
  // A negative timeout waits for ever. The events hold until the next call.
  std::span<const epoll_event> Wait(std::chrono::nanoseconds timeout);

 private:
  FileDescriptor epoll_;
  std::array<epoll_event, 256> events_;
};

}  // namespace falaj::bench

// Waiting for sockets.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <span>

#include "core/file_descriptor.h"

namespace falaj::load {

// Sockets are added once, for reading and writing, edge-triggered: whoever is woken reads and writes until
// the socket says that there is no more, and nothing is ever asked of epoll again. One thread's.
class Poller {
 public:
  Poller();
  // Whether it can be used: file descriptors may be out.
  bool valid() const { return epoll_.valid(); }
  // False: it cannot be waited for; errno says why. A socket that is closed is no longer waited for.
  bool Add(int fd, uint64_t tag) { return Add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, tag); }
  bool Add(int fd, uint32_t events, uint64_t tag);
  // A negative timeout waits for ever. The events hold until the next call.
  std::span<const epoll_event> Wait(std::chrono::nanoseconds timeout);

 private:
  FileDescriptor epoll_;
  std::array<epoll_event, 256> events_;
};

}  // namespace falaj::load

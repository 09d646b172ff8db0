// What one I/O thread waits for: sockets, a time, and other threads. epoll and nothing else.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "core/file_descriptor.h"
#include "core/mutex.h"

namespace falaj::wire {

// Everything but Post and Wake is for the one thread that calls Turn.
//
// Sockets are watched edge-triggered for everything from Add on: an event says that something has changed
// since the socket last said EAGAIN, and nothing is asked of the kernel between two events. Watching anew for
// each request, as Asio does where it only waits, is a system call a request.
class EventLoop {
 public:
  // What is called when something happens to a descriptor.
  class Source {
   public:
    virtual ~Source() = default;
    virtual void OnEvents(uint32_t events) = 0;
  };

  static constexpr uint32_t kSocketEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  static constexpr uint32_t kListenerEvents = EPOLLIN;  // level-triggered: it says so until it is taken

  EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // False: the kernel gave no descriptors for it, and nothing else works.
  bool valid() const { return epoll_.valid() && wake_.valid(); }
  // False: the kernel gives no more (descriptors, or memory for them). The source lives until Remove.
  [[nodiscard]] bool Add(int fd, uint32_t events, Source* source);
  // Before the descriptor is closed: a process that was forked from this one may keep it open, and watched.
  // The source is not called any more, also not for what was reported already.
  void Remove(int fd, Source* source);

  // Has `what` called by a turn that begins at or after `when`.
  void At(TimePoint when, std::function<void()> what);
  // Thread-safe: has `what` called by the next turn. What is posted after the last one is dropped.
  void Post(std::function<void()> what) EXCLUDES(mu_);
  // Thread-safe: the next turn, or the one that waits, does not wait (any longer).
  void Wake();

  // Calls the sources of up to kEvents descriptors, then what time and other threads brought. Waits for any
  // of these only where told to.
  enum class Wait { kNo, kYes };
  void Turn(Wait wait);

 private:
  static constexpr size_t kEvents = 128;

  int TimeoutMilliseconds(Wait wait) const;
  void RunDue();
  void RunPosted() EXCLUDES(mu_);

  const FileDescriptor epoll_;
  const FileDescriptor wake_;  // an eventfd that is never read: each write is an edge
  std::array<epoll_event, kEvents> events_;
  std::span<epoll_event> reported_;                                  // of this turn, while it calls sources
  std::vector<std::pair<TimePoint, std::function<void()>>> timers_;  // a few
  std::vector<std::function<void()>> taken_;

  Mutex mu_;
  std::vector<std::function<void()>> posted_ GUARDED_BY(mu_);
};

}  // namespace falaj::wire

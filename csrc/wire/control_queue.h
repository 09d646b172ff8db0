// The bridge's native end: what I/O threads ask of the control plane, until Python takes it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <variant>
#include <vector>

#include "core/mutex.h"
#include "wire/control.h"

namespace falaj::wire {

// A request; the word that a client went away, or that what was sent for it has left; a line of the access
// log.
struct Asked {
  uint64_t id = 0;
  ControlRequest request;
};
struct Gone {
  uint64_t id = 0;
};
struct Drained {
  uint64_t id = 0;
};
using ControlEvent = std::variant<Asked, Gone, Drained, AccessRecord>;

// Thread-safe. I/O threads put, one thread of Python's takes, woken by `fd`. Bounded: requests by
// `max_requests` that are waiting or being answered, log records by `max_records`; the other events belong to
// requests that were taken. One whose client goes before it was taken leaves nothing behind.
class ControlQueue {
 public:
  ControlQueue(size_t max_requests, size_t max_records);
  ~ControlQueue();
  ControlQueue(const ControlQueue&) = delete;
  ControlQueue& operator=(const ControlQueue&) = delete;

  // Readable while events wait; -1 where no descriptor was left.
  int fd() const { return fd_; }
  std::vector<ControlEvent> Take() EXCLUDES(mu_);

  // I/O threads: 0 where the queue is full or closed. `thread` becomes part of the id.
  uint64_t Put(size_t thread, ControlRequest request) EXCLUDES(mu_);
  static size_t ThreadOf(uint64_t id) { return static_cast<size_t>(id >> kThreadShift); }
  void PutGone(uint64_t id) EXCLUDES(mu_);
  void PutRecord(AccessRecord record) EXCLUDES(mu_);
  // Bytes of the answer to `id` were handed to the kernel.
  void Sent(uint64_t id, size_t bytes) EXCLUDES(mu_);

  // Python: `bytes` more are on their way to the client of `id`. Returns false where kHoldBack or more of
  // them wait: a Drained event follows when they have left.
  bool Reply(uint64_t id, size_t bytes, bool last) EXCLUDES(mu_);
  // No more requests are taken: the control plane ends.
  void Close() EXCLUDES(mu_);

  uint64_t dropped_records() const { return dropped_.load(std::memory_order_relaxed); }

  static constexpr size_t kHoldBack = size_t{1} << 20;

 private:
  // An id is its thread and a number that counts up.
  static constexpr int kThreadShift = 48;
  static constexpr uint64_t kNumber = (uint64_t{1} << kThreadShift) - 1;

  struct Flow {
    size_t unsent = 0;
    bool held_back = false;
  };
  void Add(ControlEvent event) REQUIRES(mu_);

  const size_t max_requests_;
  const size_t max_records_;
  const int fd_;
  std::atomic<uint64_t> dropped_{0};

  Mutex mu_;
  std::vector<ControlEvent> events_ GUARDED_BY(mu_);
  std::unordered_map<uint64_t, Flow> flows_ GUARDED_BY(mu_);  // of requests under way
  size_t records_ GUARDED_BY(mu_) = 0;                        // of events_
  uint64_t last_id_ GUARDED_BY(mu_) = 0;                      // without its thread
  uint64_t last_taken_ GUARDED_BY(mu_) = 0;                   // the last_id_ when events were last taken
  bool closed_ GUARDED_BY(mu_) = false;
};

}  // namespace falaj::wire

// Ends requests at their deadline, whatever their model is doing. One per process, shared by all models.
#pragma once

#include <thread>
#include <vector>

#include "batch/request.h"
#include "core/clock.h"

namespace falaj {

// Thread-safe. A binary heap of requests by deadline that knows each one's place in it, so that a request
// leaves when it is answered. Holds one reference of each. Lock order: after the batcher's mutex.
class DeadlineTimer {
 public:
  explicit DeadlineTimer(Clock* clock);
  ~DeadlineTimer();
  DeadlineTimer(const DeadlineTimer&) = delete;
  DeadlineTimer& operator=(const DeadlineTimer&) = delete;

  void Add(Request* request) EXCLUDES(mu_);
  // Does nothing where the request is not (or no more) in the heap.
  void Remove(Request* request) EXCLUDES(mu_);
  size_t size() const EXCLUDES(mu_);

 private:
  void Work();
  void Place(size_t index, Request* request) REQUIRES(mu_);
  void SiftUp(size_t index) REQUIRES(mu_);
  void SiftDown(size_t index) REQUIRES(mu_);
  void Erase(size_t index) REQUIRES(mu_);

  Clock* const clock_;
  mutable Mutex mu_;
  CondVar changed_;  // the earliest deadline came nearer, or stop
  std::vector<Request*> heap_ GUARDED_BY(mu_);
  bool stop_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace falaj

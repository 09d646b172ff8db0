#include "batch/deadline_timer.h"

#include <pthread.h>

#include "batch/batcher.h"

namespace falaj {

DeadlineTimer::DeadlineTimer(Clock* clock) : clock_(clock), thread_([this] { Work(); }) {
  pthread_setname_np(thread_.native_handle(), "falaj-deadline");
}

DeadlineTimer::~DeadlineTimer() {
  {
    MutexLock lock(mu_);
    stop_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
  MutexLock lock(mu_);
  for (Request* request : heap_) request->Unref();
}

void DeadlineTimer::Place(size_t index, Request* request) {
  heap_[index] = request;
  request->timer_index_ = static_cast<int64_t>(index);
}

void DeadlineTimer::SiftUp(size_t index) {
  Request* request = heap_[index];
  while (index > 0) {
    const size_t parent = (index - 1) / 2;
    if (heap_[parent]->deadline <= request->deadline) break;
    Place(index, heap_[parent]);
    index = parent;
  }
  Place(index, request);
}

void DeadlineTimer::SiftDown(size_t index) {
  Request* request = heap_[index];
  while (true) {
    size_t child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1]->deadline < heap_[child]->deadline) ++child;
    if (request->deadline <= heap_[child]->deadline) break;
    Place(index, heap_[child]);
    index = child;
  }
  Place(index, request);
}

void DeadlineTimer::Erase(size_t index) {
  heap_[index]->timer_index_ = -1;
  Request* last = heap_.back();
  heap_.pop_back();
  if (index == heap_.size()) return;
  Place(index, last);
  SiftUp(index);
  SiftDown(static_cast<size_t>(last->timer_index_));
}

void DeadlineTimer::Add(Request* request) {
  bool earliest = false;
  {
    MutexLock lock(mu_);
    request->Ref();
    heap_.push_back(request);
    SiftUp(heap_.size() - 1);
    earliest = request->timer_index_ == 0;
  }
  if (earliest) changed_.NotifyOne();
}

void DeadlineTimer::Remove(Request* request) {
  {
    MutexLock lock(mu_);
    if (request->timer_index_ < 0) return;
    Erase(static_cast<size_t>(request->timer_index_));
  }
  request->Unref();
}

size_t DeadlineTimer::size() const {
  MutexLock lock(mu_);
  return heap_.size();
}

void DeadlineTimer::Work() {
  MutexLock lock(mu_);
  while (!stop_) {
    if (heap_.empty()) {
      changed_.Wait(mu_);
      continue;
    }
    Request* request = heap_[0];
    if (request->deadline > clock_->Now()) {
      clock_->WaitUntil(changed_, mu_, request->deadline);
      continue;
    }
    Erase(0);
    mu_.Unlock();
    request->batcher_->Expire(request);
    request->Unref();
    mu_.Lock();
  }
}

}  // namespace falaj

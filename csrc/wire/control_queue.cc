#include "wire/control_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

namespace falaj::wire {

ControlQueue::ControlQueue(size_t max_requests, size_t max_records)
    : max_requests_(max_requests), max_records_(max_records), fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

ControlQueue::~ControlQueue() {
  if (fd_ >= 0) close(fd_);
}

void ControlQueue::Add(ControlEvent event) {
  events_.push_back(std::move(event));
  if (events_.size() > 1) return;  // the reader was woken for those before
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the reader is awake already.
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
}

std::vector<ControlEvent> ControlQueue::Take() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof(count));  // non-blocking
  std::vector<ControlEvent> taken;
  MutexLock lock(mu_);
  taken.swap(events_);
  records_ = 0;
  last_taken_ = last_id_;
  return taken;
}

uint64_t ControlQueue::Put(size_t thread, ControlRequest request) {
  MutexLock lock(mu_);
  if (closed_ || flows_.size() >= max_requests_) return 0;
  const uint64_t id = (static_cast<uint64_t>(thread) << kThreadShift) | ++last_id_;
  flows_.emplace(id, Flow{});
  Add(Asked{id, std::move(request)});
  return id;
}

void ControlQueue::PutGone(uint64_t id) {
  MutexLock lock(mu_);
  if (flows_.erase(id) == 0) return;
  if ((id & kNumber) > last_taken_) {
    // Kept, it would be one more for every client that asks and leaves while nobody takes.
    std::erase_if(events_, [id](const ControlEvent& event) {
      const auto* const asked = std::get_if<Asked>(&event);
      return asked != nullptr && asked->id == id;
    });
    return;
  }
  Add(Gone{id});
}

void ControlQueue::PutRecord(AccessRecord record) {
  MutexLock lock(mu_);
  if (closed_ || records_ >= max_records_) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ++records_;
  Add(std::move(record));
}

void ControlQueue::Sent(uint64_t id, size_t bytes) {
  MutexLock lock(mu_);
  const auto found = flows_.find(id);
  if (found == flows_.end()) return;
  Flow& flow = found->second;
  flow.unsent -= std::min(flow.unsent, bytes);
  if (!flow.held_back || flow.unsent >= kHoldBack) return;
  flow.held_back = false;
  Add(Drained{id});
}

bool ControlQueue::Reply(uint64_t id, size_t bytes, bool last) {
  MutexLock lock(mu_);
  const auto found = flows_.find(id);
  if (found == flows_.end()) return true;  // the client has gone
  if (last) {
    flows_.erase(found);
    return true;
  }
  Flow& flow = found->second;
  flow.unsent += bytes;
  flow.held_back = flow.unsent >= kHoldBack;
  return !flow.held_back;
}

void ControlQueue::Close() {
  MutexLock lock(mu_);
  closed_ = true;
}

}  // namespace falaj::wire

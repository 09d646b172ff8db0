// What Batcher tells of itself.
#include <algorithm>

#include "batch/batcher.h"

namespace falaj {

ModelStats Batcher::Stats() const {
  ModelStats stats;
  uint64_t last_answer = 0;
  const auto merge = [&](const std::vector<std::unique_ptr<Lane>>& lanes) {
    for (const auto& lane : lanes) {
      stats.Merge(lane->counters);
      lane->sizes.AddTo(stats.batch_sizes);
      last_answer = std::max(last_answer, lane->last_answer.Get());
    }
  };
  merge(lanes_);
  std::shared_ptr<Backend> backend;
  {
    MutexLock lock(mu_);
    if (!closed_) backend = backend_;
  }
  stats.model_bytes = backend != nullptr ? backend->MemoryUsed() : 0;
  MutexLock lock(mu_);
  stats.buffer_bytes = slabs_.allocated_bytes() + pooled_bytes_;
  merge(guests_);
  stats.admission = admission_;
  stats.Merge(*laneless_counters_);
  if (last_laneless_ != TimePoint{}) {
    last_answer = std::max(last_answer, static_cast<uint64_t>(last_laneless_.time_since_epoch().count()));
  }
  if (caches()) {
    stats.cache = cached_;
    stats.cache.entries = cache_.entries();
    stats.cache.bytes = cache_.bytes();
  }
  stats.waiting_rows =
      queue_.rows() + (book_ ? static_cast<int64_t>(book_->waiting()) : 0);  // of one row each
  stats.waiting_requests = queue_.size();
  if (book_) {
    stats.waiting_requests += book_->waiting();
    stats.sequences = {book_->live(), book_->in_line(), book_->begun(), book_->ended_idle(),
                       book_->refused()};
  }
  stats.inflight_requests = static_cast<uint64_t>(inflight_);
  const TimePoint now = clock_->Now();
  stats.oldest_batch_ns = static_cast<uint64_t>(OldestBatch(now).count());
  const auto now_ns = static_cast<uint64_t>(now.time_since_epoch().count());
  if (last_answer > 0) stats.since_answer_ns = now_ns - std::min(now_ns, last_answer);
  return stats;
}

Nanos Batcher::OldestBatch(TimePoint now) const {
  Nanos oldest(0);
  const auto look = [&](const std::vector<std::unique_ptr<Lane>>& lanes, const std::vector<Lane*>& idle) {
    for (const auto& lane : lanes) {
      if (std::find(idle.begin(), idle.end(), lane.get()) != idle.end()) continue;
      oldest = std::max(oldest, Nanos(now - lane->started));
    }
  };
  if (closed_) return oldest;  // what is closed has no idle lanes either
  look(lanes_, free_lanes_);
  look(guests_, free_guests_);
  return oldest;
}

}  // namespace falaj

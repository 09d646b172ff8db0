// The waiting requests of one model: a FIFO per priority level, intrusive, so that queueing allocates nothing
// and a cancelled request leaves from the middle at once.
#pragma once

#include <vector>

#include "batch/decision.h"
#include "batch/request.h"

namespace falaj {

// Not thread-safe: guarded by the batcher's mutex. Holds one reference of each queued request.
class RequestQueue {
 public:
  explicit RequestQueue(size_t levels) : levels_(levels) {}

  void PushBack(Request* request);
  // REQUIRES: request->queued_
  void Remove(Request* request);

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  int64_t rows() const { return rows_; }
  // Of the levels served no later than `level`.
  int64_t RowsUpTo(size_t level) const;
  size_t LevelSize(size_t level) const { return levels_[level].size; }

  // The first requests in order of service, at most kWindow of them and no more than it takes to see
  // `max_rows` rows of the first one's signature. Both vectors are cleared first.
  void View(int64_t max_rows, std::vector<Waiting>& view, std::vector<Request*>& requests) const;

  static constexpr size_t kWindow = 1024;

 private:
  struct Level {
    Request* head = nullptr;
    Request* tail = nullptr;
    size_t size = 0;
    int64_t rows = 0;
  };
  std::vector<Level> levels_;
  size_t size_ = 0;
  int64_t rows_ = 0;
};

}  // namespace falaj

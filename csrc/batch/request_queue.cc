#include "batch/request_queue.h"

namespace falaj {

void RequestQueue::PushBack(Request* request) {
  Level& level = levels_[request->level_];
  request->prev_ = level.tail;
  request->next_ = nullptr;
  (level.tail != nullptr ? level.tail->next_ : level.head) = request;
  level.tail = request;
  request->queued_ = true;
  ++level.size;
  level.rows += request->rows_;
  ++size_;
  rows_ += request->rows_;
}

void RequestQueue::Remove(Request* request) {
  Level& level = levels_[request->level_];
  (request->prev_ != nullptr ? request->prev_->next_ : level.head) = request->next_;
  (request->next_ != nullptr ? request->next_->prev_ : level.tail) = request->prev_;
  request->prev_ = request->next_ = nullptr;
  request->queued_ = false;
  --level.size;
  level.rows -= request->rows_;
  --size_;
  rows_ -= request->rows_;
}

int64_t RequestQueue::RowsUpTo(size_t level) const {
  int64_t rows = 0;
  for (size_t i = 0; i <= level; ++i) rows += levels_[i].rows;
  return rows;
}

void RequestQueue::View(int64_t max_rows, std::vector<Waiting>& view, std::vector<Request*>& requests) const {
  view.clear();
  requests.clear();
  int64_t matching = 0;
  for (const Level& level : levels_) {
    for (Request* request = level.head; request != nullptr; request = request->next_) {
      if (view.size() == kWindow || matching >= max_rows) return;
      view.push_back({request->rows_, request->signature_});
      requests.push_back(request);
      if (request->signature_ == view.front().signature) matching += request->rows_;
    }
  }
}

}  // namespace falaj

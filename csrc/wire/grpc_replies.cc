#include "wire/grpc_replies.h"

#include <algorithm>
#include <utility>

namespace falaj::wire {
namespace {

constexpr size_t kKeep = 64 * 1024;
constexpr size_t kWorthReferring = 4 * 1024;  // a piece of its own costs about as much as copying this

}  // namespace

void GrpcReplies::Added() {
  const size_t size = small_.size() - small_added_;
  small_added_ = small_.size();
  budget_->Force(size);
  bytes_ += size;
  if (first_ == segments_.size() || segments_.back().large != nullptr) segments_.push_back({});
  segments_.back().left += size;
}

bool GrpcReplies::Add(std::shared_ptr<const std::string> large) {
  const size_t size = large->size();
  if (!budget_->Take(size)) return false;
  bytes_ += size;
  segments_.push_back({std::move(large), size});
  return true;
}

void GrpcReplies::Write(size_t bytes, Http2Output& output) {
  bytes_ -= bytes;
  while (bytes > 0) {
    Segment& segment = segments_[first_];
    const size_t part = std::min(bytes, segment.left);
    bytes -= part;
    if (segment.large == nullptr) {
      output.Copy(std::as_bytes(std::span(small_).subspan(small_written_, part)));
      small_written_ += part;
      budget_->Give(part);
    } else {
      const auto view = std::as_bytes(std::span(*segment.large)).last(segment.left).first(part);
      if (part < kWorthReferring) {
        output.Copy(view);
      } else {
        output.Refer(view, segment.large);
      }
    }
    segment.left -= part;
    if (segment.left > 0) break;
    if (segment.large != nullptr) budget_->Give(segment.large->size());
    segment.large.reset();
    ++first_;
  }
  if (bytes_ == 0) {
    Clear();
  } else {
    TrimSmall();
  }
}

// Where a stream never runs dry, what was written makes room for what comes.
void GrpcReplies::TrimSmall() {
  if (small_written_ > kKeep && small_written_ > small_.size() / 2) {
    small_.erase(0, small_written_);
    small_added_ -= small_written_;
    small_written_ = 0;
  }
  if (first_ > 64 && first_ > segments_.size() / 2) {
    segments_.erase(segments_.begin(), segments_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

void GrpcReplies::Clear() {
  for (; first_ < segments_.size(); ++first_) {
    const Segment& segment = segments_[first_];
    budget_->Give(segment.large != nullptr ? segment.large->size() : segment.left);
  }
  segments_.clear();
  first_ = 0;
  bytes_ = 0;
  small_.clear();
  if (small_.capacity() > kKeep) small_ = {};
  small_written_ = small_added_ = 0;
}

}  // namespace falaj::wire

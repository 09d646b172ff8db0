// What one connection has buffered, told to the bound that all connections share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "wire/client_shares.h"

namespace falaj::wire {

// The first kFree bytes of a connection are not counted, and the rest in steps, so that small requests and
// answers touch no memory that other threads write. Not thread-safe; one connection's.
class BufferBudget {
 public:
  static constexpr size_t kFree = 64 * 1024;
  static constexpr size_t kStep = 64 * 1024;

  explicit BufferBudget(ClientShares* shares) : shares_(shares) {}
  ~BufferBudget() {
    if (counted_ > 0) shares_->Unbuffer(static_cast<int64_t>(counted_));
  }
  BufferBudget(const BufferBudget&) = delete;
  BufferBudget& operator=(const BufferBudget&) = delete;

  // False: max_buffered_bytes would be passed; nothing was taken.
  [[nodiscard]] bool Take(size_t bytes) {
    const size_t wanted = Counted(used_ + bytes);
    if (wanted > counted_) {
      if (!shares_->Buffer(static_cast<int64_t>(wanted - counted_))) return false;
      counted_ = wanted;
    }
    used_ += bytes;
    return true;
  }
  // Where there is no choice: takes them, counted or not.
  void Force(size_t bytes) {
    if (!Take(bytes)) used_ += bytes;
  }
  void Give(size_t bytes) {
    used_ -= bytes;
    const size_t wanted = Counted(used_);
    if (wanted >= counted_) return;
    shares_->Unbuffer(static_cast<int64_t>(counted_ - wanted));
    counted_ = wanted;
  }
  size_t used() const { return used_; }

 private:
  static size_t Counted(size_t used) {
    return used <= kFree ? 0 : (used - kFree + kStep - 1) / kStep * kStep;
  }

  ClientShares* const shares_;
  size_t used_ = 0;
  size_t counted_ = 0;  // in ClientShares; less than used_ tells only after Force
};

}  // namespace falaj::wire

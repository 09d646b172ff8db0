// The real clock, which a test sets forward.
#pragma once

#include <atomic>

#include "core/clock.h"

namespace falaj::test {

// Thread-safe. Who waits already is not woken by a shift.
class ShiftedClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now() + Nanos(ahead_.load()); }
  void WaitUntil(CondVar& cv, Mutex& mu, TimePoint deadline) override REQUIRES(mu) {
    cv.WaitUntil(mu, deadline - Nanos(ahead_.load()));
  }
  void Shift(Nanos by) { ahead_ += by.count(); }

 private:
  std::atomic<int64_t> ahead_{0};
};

}  // namespace falaj::test

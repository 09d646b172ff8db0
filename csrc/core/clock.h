// The one seam of time: everything that reads "now" is handed a Clock, so that tests decide what time it is.
#pragma once

#include "core/mutex.h"

namespace falaj {

// Monotonic. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  // Waits on `cv` (whose mutex is `mu`, held) until notified or until `deadline` by this clock.
  virtual void WaitUntil(CondVar& cv, Mutex& mu, TimePoint deadline) REQUIRES(mu) = 0;
};

class SteadyClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  void WaitUntil(CondVar& cv, Mutex& mu, TimePoint deadline) override REQUIRES(mu) {
    cv.WaitUntil(mu, deadline);
  }
};

}  // namespace falaj

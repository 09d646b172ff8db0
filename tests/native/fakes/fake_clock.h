// A clock that stands still until a test moves it.
#pragma once

#include <algorithm>
#include <vector>

#include "core/clock.h"

namespace falaj::test {

// Thread-safe. Starts an hour after the epoch of TimePoint.
class FakeClock final : public Clock {
 public:
  TimePoint Now() const override {
    MutexLock lock(mu_);
    return now_;
  }

  void WaitUntil(CondVar& cv, Mutex& mu, TimePoint deadline) override REQUIRES(mu) {
    {
      MutexLock lock(mu_);
      if (now_ >= deadline) return;
      waiting_.push_back({&cv, &mu});
    }
    cv.Wait(mu);
    MutexLock lock(mu_);
    std::erase_if(waiting_, [&cv](const Waiter& waiter) { return waiter.cv == &cv; });
  }

  // Returns when everyone who was waiting has been woken; what they do then, they do later.
  void Advance(Nanos by) {
    std::vector<Waiter> waiting;
    {
      MutexLock lock(mu_);
      now_ += by;
      waiting = waiting_;
    }
    for (const Waiter& waiter : waiting) Wake(waiter);
  }

 private:
  struct Waiter {
    CondVar* cv;
    Mutex* mu;
  };
  // Under the waiter's mutex: it is either before its look at the time or in its wait, never between.
  static void Wake(const Waiter& waiter) {
    MutexLock lock(*waiter.mu);
    waiter.cv->NotifyAll();
  }

  mutable Mutex mu_;
  TimePoint now_ GUARDED_BY(mu_) = TimePoint(std::chrono::hours(1));
  std::vector<Waiter> waiting_ GUARDED_BY(mu_);
};

}  // namespace falaj::test

// A clock that stands still until a test moves it.
#pragma once

#include <algorithm>
#include <vector>

#include "core/clock.h"

namespace falaj::test {

// Thread-safe. Starts an hour after the epoch of TimePoint. As with a real clock, time wakes only those whose
// deadline has come: whoever should wake earlier has to be notified.
class FakeClock final : public Clock {
 public:
  TimePoint Now() const override {
    MutexLock lock(mu_);
    return now_;
  }

  void WaitUntil(CondVar& cv, Mutex& mu, TimePoint deadline) override REQUIRES(mu) {
    uint64_t id = 0;
    {
      MutexLock lock(mu_);
      if (now_ >= deadline) return;
      id = ++last_id_;
      waiting_.push_back({id, deadline, &cv, &mu});
      asleep_.NotifyAll();
    }
    cv.Wait(mu);
    MutexLock lock(mu_);
    std::erase_if(waiting_, [id](const Waiter& waiter) { return waiter.id == id; });
  }

  // Returns when everyone whose deadline has come has been woken; what they do then, they do later.
  void Advance(Nanos by) {
    std::vector<Waiter> due;
    {
      MutexLock lock(mu_);
      now_ += by;
      for (const Waiter& waiter : waiting_) {
        if (waiter.deadline <= now_) due.push_back(waiter);
      }
    }
    for (const Waiter& waiter : due) Wake(waiter);
  }

  // Returns when somebody waits until just `deadline`.
  void WaitUntilAsleep(TimePoint deadline) {
    MutexLock lock(mu_);
    while (std::none_of(waiting_.begin(), waiting_.end(),
                        [deadline](const Waiter& waiter) { return waiter.deadline == deadline; })) {
      asleep_.Wait(mu_);
    }
  }

 private:
  struct Waiter {
    uint64_t id;
    TimePoint deadline;
    CondVar* cv;
    Mutex* mu;
  };
  // Under the waiter's mutex: it is either before its look at the time or in its wait, never between.
  static void Wake(const Waiter& waiter) {
    MutexLock lock(*waiter.mu);
    waiter.cv->NotifyAll();
  }

  mutable Mutex mu_;
  CondVar asleep_;  // waiting_ grew
  TimePoint now_ GUARDED_BY(mu_) = TimePoint(std::chrono::hours(1));
  uint64_t last_id_ GUARDED_BY(mu_) = 0;
  std::vector<Waiter> waiting_ GUARDED_BY(mu_);
};

}  // namespace falaj::test

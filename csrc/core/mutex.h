// Mutex and condition variable that clang's -Wthread-safety can check; over the standard ones.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define FALAJ_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define FALAJ_THREAD_ANNOTATION(x)
#endif
#define CAPABILITY(x) FALAJ_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY FALAJ_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) FALAJ_THREAD_ANNOTATION(guarded_by(x))
#define PT_GUARDED_BY(x) FALAJ_THREAD_ANNOTATION(pt_guarded_by(x))
#define REQUIRES(...) FALAJ_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) FALAJ_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) FALAJ_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) FALAJ_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS FALAJ_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace falaj {

using TimePoint = std::chrono::steady_clock::time_point;
using Nanos = std::chrono::nanoseconds;

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  // Our critical sections are tens of nanoseconds and a sleep costs microseconds: a few tries first.
  void Lock() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS {
    for (int i = 0; i < kTries; ++i) {
      if (mu_.try_lock()) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    mu_.lock();
  }
  void Unlock() RELEASE() { mu_.unlock(); }

 private:
  friend class CondVar;
  static constexpr int kTries = 100;
  std::mutex mu_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ACQUIRE(mu) : mu_(mu) { mu_.Lock(); }
  ~MutexLock() RELEASE() { mu_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

// Always waited on in a loop over its predicate: wake-ups may be spurious.
class CondVar {
 public:
  void Wait(Mutex& mu) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  void WaitUntil(Mutex& mu, TimePoint deadline) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    if (deadline == TimePoint::max()) {
      cv_.wait(lock);
    } else {
      cv_.wait_until(lock, deadline);
    }
    lock.release();
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace falaj

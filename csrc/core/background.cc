#include "core/background.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#include <system_error>
#include <thread>

#include "core/mutex.h"

namespace falaj {
namespace {

// Of 1024 for a thread of normal weight; see sched(7).
constexpr int kLowNiceness = 10;
constexpr Nanos kTrial = std::chrono::microseconds(200);
// A core that is shared with another thread gives SCHED_IDLE a few thousandths of its time.
constexpr int kBusyFactor = 50;

// Best effort: where the kernel refuses, the work runs at full share.
void StepBack(Share share) {
  if (share == Share::kSpare) {
    const sched_param none{};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
  } else {
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kLowNiceness);
  }
  sched_yield();  // the step down alone does not let those run who came to wait for this core before it
}

Nanos ThreadCpuTime() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + Nanos(now.tv_nsec);
}

}  // namespace

Share ShareBesideTraffic() {
  Nanos wall{0};
  RunWithShare(Share::kSpare, [&wall] {
    const TimePoint begin = std::chrono::steady_clock::now();
    const Nanos first = ThreadCpuTime();
    while (ThreadCpuTime() - first < kTrial) {
    }
    wall = std::chrono::steady_clock::now() - begin;
  });
  return wall < kBusyFactor * kTrial ? Share::kSpare : Share::kLow;
}

void RunWithShare(Share share, const std::function<void()>& work) {
  if (share == Share::kFull) return work();
  try {
    std::thread thread([&] {
      StepBack(share);
      work();
    });
    pthread_setname_np(thread.native_handle(), "falaj-load");
    thread.join();
  } catch (const std::system_error&) {
    work();  // no thread to be had
  }
}

}  // namespace falaj

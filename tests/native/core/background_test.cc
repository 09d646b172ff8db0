#include "core/background.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

namespace falaj {
namespace {

struct Seen {
  std::thread::id thread;
  int policy = -1;
  int niceness = -1;
};

Seen RunAndLook(Share share) {
  Seen seen;
  RunWithShare(share, [&seen] {
    seen = {std::this_thread::get_id(), sched_getscheduler(0), getpriority(PRIO_PROCESS, 0)};
  });
  return seen;
}

TEST(RunWithShare, FullShareIsTheCallersOwn) {
  EXPECT_EQ(RunAndLook(Share::kFull).thread, std::this_thread::get_id());
}

TEST(RunWithShare, SpareShareGetsOnlyWhatOthersLeave) {
  const Seen seen = RunAndLook(Share::kSpare);
  EXPECT_NE(seen.thread, std::this_thread::get_id());
  EXPECT_EQ(seen.policy, SCHED_IDLE);
}

TEST(RunWithShare, LowShareIsNice) {
  const int mine = getpriority(PRIO_PROCESS, 0);
  EXPECT_GE(RunAndLook(Share::kLow).niceness, std::max(mine, 10));
}

TEST(RunWithShare, TheCallerStepsNotBack) {
  const int policy = sched_getscheduler(0);
  const int niceness = getpriority(PRIO_PROCESS, 0);
  RunWithShare(Share::kSpare, [] {});
  RunWithShare(Share::kLow, [] {});
  EXPECT_EQ(sched_getscheduler(0), policy);
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), niceness);
}

TEST(ShareBesideTraffic, IsNeverFull) { EXPECT_NE(ShareBesideTraffic(), Share::kFull); }

}  // namespace
}  // namespace falaj

#include "batch/executor_pool.h"

#include <gtest/gtest.h>

#include <atomic>

namespace falaj {
namespace {

// Counts its runs and how many are inside at once; can be held at a gate.
class Client final : public PoolClient {
 public:
  void RunOne() override {
    MutexLock lock(mu_);
    ++inside_;
    most_ = std::max(most_, inside_);
    changed_.NotifyAll();
    while (held_) changed_.Wait(mu_);
    --inside_;
    ++runs_;
    changed_.NotifyAll();
  }
  void Hold(bool held) {
    MutexLock lock(mu_);
    held_ = held;
    changed_.NotifyAll();
  }
  void WaitForInside(int count) {
    MutexLock lock(mu_);
    while (inside_ < count) changed_.Wait(mu_);
  }
  void WaitForRuns(int count) {
    MutexLock lock(mu_);
    while (runs_ < count) changed_.Wait(mu_);
  }
  int most() {
    MutexLock lock(mu_);
    return most_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  int inside_ GUARDED_BY(mu_) = 0;
  int most_ GUARDED_BY(mu_) = 0;
  int runs_ GUARDED_BY(mu_) = 0;
  bool held_ GUARDED_BY(mu_) = false;
};

TEST(ExecutorPool, KeepsNoMoreCoresBusyThanThereAre) {
  SteadyClock clock;
  ExecutorPool pool(2, &clock);
  Client wide;
  pool.Add(&wide, 2, 2);
  pool.Offer(&wide, 50);
  wide.WaitForRuns(50);
  EXPECT_EQ(wide.most(), 1);
  pool.Remove(&wide);
}

TEST(ExecutorPool, RunsAWideClientAlthoughNarrowOnesKeepComing) {
  SteadyClock clock;
  ExecutorPool pool(2, &clock);
  Client narrow;
  Client wide;
  pool.Add(&narrow, 1, 2);
  pool.Add(&wide, 2, 1);
  pool.Offer(&narrow, 100'000);
  pool.Offer(&wide, 3);
  wide.WaitForRuns(3);
  pool.Remove(&wide);
  pool.Remove(&narrow);
}

TEST(ExecutorPool, RunsOthersWhileWaitingClientsBlock) {
  SteadyClock clock;
  ExecutorPool pool(1, &clock);
  Client waits;
  Client computes;
  pool.Add(&waits, 0, 3);
  pool.Add(&computes, 1, 1);
  waits.Hold(true);
  pool.Offer(&waits, 3);
  waits.WaitForInside(3);
  pool.Offer(&computes, 5);
  computes.WaitForRuns(5);
  waits.Hold(false);
  pool.Remove(&waits);
  pool.Remove(&computes);
}

TEST(ExecutorPool, RemoveReturnsOnlyWhenNobodyIsInside) {
  SteadyClock clock;
  ExecutorPool pool(1, &clock);
  Client client;
  pool.Add(&client, 1, 1);
  client.Hold(true);
  pool.Offer(&client, 1);
  client.WaitForInside(1);
  std::jthread release([&] { client.Hold(false); });
  pool.Remove(&client);
  client.WaitForRuns(1);
}

}  // namespace
}  // namespace falaj

// What a batcher tells about what it has done.
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

BatcherOptions Options() { return DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})}); }

void WaitUntilIdle(ModelFixture& model) {
  ASSERT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(30)));
}

uint64_t Total(const std::array<uint64_t, Histogram::kBins>& bins) {
  return std::accumulate(bins.begin(), bins.end(), uint64_t{0});
}

TEST(BatcherStats, CountABatchsPhasesOnceForEachOfItsRequests) {
  ModelFixture model(Options());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  for (uint64_t tag = 1; tag < 4; ++tag) model.Ask(tag, {Shape{1, 2}}, 1);
  model.script.OpenGate();
  model.sink->WaitFor(4);
  WaitUntilIdle(model);
  const ModelStats stats = model.batcher->Stats();
  EXPECT_EQ(stats.requests_ok, 4u);
  EXPECT_EQ(stats.batches, 2u);
  EXPECT_EQ(Total(stats.request), 4u);
  EXPECT_EQ(stats.ok_queue_ns, stats.queue_ns);
  EXPECT_GT(stats.ok_run_ns, stats.run_ns);
  EXPECT_GT(stats.ok_assemble_ns, stats.assemble_ns);
  EXPECT_GT(stats.ok_deliver_ns, stats.deliver_ns);
  EXPECT_EQ(stats.failed_request_ns, 0u);
}

uint64_t SumOfPhases(const ModelStats& stats) {
  return stats.ok_queue_ns + stats.ok_assemble_ns + stats.ok_run_ns + stats.ok_deliver_ns;
}

TEST(BatcherStats, HoldThePhasesWithinTheWholeWhenHandingOutTakesLong) {
  ModelFixture model(Options());
  model.sink->on_delivery = [&] { model.clock.Shift(std::chrono::seconds(2)); };
  for (uint64_t tag = 0; tag < 3; ++tag) {
    model.Ask(tag, {Shape{1, 2}}, 1);
    model.sink->WaitFor(tag + 1);
    WaitUntilIdle(model);
  }
  const ModelStats stats = model.batcher->Stats();
  EXPECT_GE(stats.ok_deliver_ns, 6'000'000'000u);
  EXPECT_GE(stats.ok_request_ns, SumOfPhases(stats));
  EXPECT_LT(stats.request_ns, 2'000'000'000u) << "an answer was there before it was handed out";
}

TEST(BatcherStats, HoldThePhasesWithinTheWholeForWhoLooksMeanwhile) {
  ModelFixture model(Options());
  std::atomic<bool> done = false;
  std::thread looks([&] {
    while (!done) {
      const ModelStats stats = model.batcher->Stats();
      ASSERT_GE(stats.ok_request_ns, SumOfPhases(stats));
    }
  });
  for (uint64_t tag = 0; tag < 2000; ++tag) {
    model.Ask(tag, {Shape{1, 2}}, 1);
    model.sink->WaitFor(tag + 1);
  }
  done = true;
  looks.join();
}

TEST(BatcherStats, TellWhatBatchesOfEachSizeHaveCost) {
  ModelFixture model(Options());
  EXPECT_FALSE(model.batcher->Stats().since_answer_ns.has_value());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  for (uint64_t tag = 1; tag < 4; ++tag) model.Ask(tag, {Shape{1, 2}}, 1);
  model.script.OpenGate();
  model.sink->WaitFor(4);
  WaitUntilIdle(model);
  const ModelStats stats = model.batcher->Stats();
  ASSERT_GT(stats.batch_sizes.size(), 3u);
  uint64_t assemble_ns = 0, run_ns = 0, deliver_ns = 0;
  for (size_t rows = 0; rows < stats.batch_sizes.size(); ++rows) {
    const BatchSizeStats& size = stats.batch_sizes[rows];
    EXPECT_EQ(size.batches, rows == 1 || rows == 3 ? 1u : 0u) << rows;
    EXPECT_EQ(size.rows, size.batches * rows);
    assemble_ns += size.assemble_ns;
    run_ns += size.run_ns;
    deliver_ns += size.deliver_ns;
  }
  EXPECT_EQ(assemble_ns, stats.assemble_ns);
  EXPECT_EQ(run_ns, stats.run_ns);
  EXPECT_EQ(deliver_ns, stats.deliver_ns);
  ASSERT_TRUE(stats.since_answer_ns.has_value());
  EXPECT_GT(*model.batcher->Stats().since_answer_ns, *stats.since_answer_ns);
}

TEST(BatcherStats, KeepFailedRequestsOutOfTheTimesOfAnsweredOnes) {
  ModelFixture model(Options());
  model.Ask(0, {Shape{1, 2}}, kPoison);
  model.sink->WaitFor(1);
  WaitUntilIdle(model);
  const ModelStats stats = model.batcher->Stats();
  EXPECT_EQ(stats.requests_failed, 1u);
  EXPECT_GT(stats.failed_request_ns, 0u);
  EXPECT_EQ(Total(stats.request), 0u);
  EXPECT_EQ(stats.ok_request_ns + stats.ok_queue_ns + stats.ok_assemble_ns + stats.ok_run_ns, 0u);
  EXPECT_EQ(stats.ok_deliver_ns, 0u);
}

TEST(BatcherStats, TellHowLongTheOldestBatchHasBeenRunning) {
  ModelFixture model(Options());
  EXPECT_EQ(model.batcher->Stats().oldest_batch_ns, 0u);
  model.script.CloseGate();
  const TimePoint before = model.clock.Now();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  const uint64_t first = model.batcher->Stats().oldest_batch_ns;
  const uint64_t second = model.batcher->Stats().oldest_batch_ns;
  EXPECT_GT(first, 0u);
  EXPECT_GT(second, first);
  EXPECT_LE(second, static_cast<uint64_t>((model.clock.Now() - before).count()));
  model.script.OpenGate();
  model.sink->WaitFor(1);
  WaitUntilIdle(model);
  EXPECT_EQ(model.batcher->Stats().oldest_batch_ns, 0u);
  model.batcher->Close();
  EXPECT_EQ(model.batcher->Stats().oldest_batch_ns, 0u);
}

TEST(BatcherStats, CountWhatDidNotFitTheModel) {
  ModelFixture model(Options());
  EXPECT_FALSE(model.Prepare(0, {Shape{1, 3}}, 0).ok());
  EXPECT_FALSE(model.Prepare(1, {Shape{1, 2}}, 0, /*priority=*/9).ok());
  const RefPtr<Request> request = model.batcher->NewRequest();
  EXPECT_FALSE(model.batcher->Attach(*request, {}, nullptr).ok());
  EXPECT_EQ(model.batcher->Stats().admission.refused_invalid, 3u);
}

TEST(BatcherStats, CountWhatWaitedWhenTheModelWasClosed) {
  ModelFixture model(Options());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  model.Ask(1, {Shape{1, 2}}, 0);
  std::jthread closer([&] { model.batcher->Close(); });
  model.sink->WaitFor(1);
  EXPECT_EQ(model.batcher->Stats().admission.unloaded, 1u);
  EXPECT_EQ(model.batcher->Stats().admission.cancelled, 0u);
  model.script.OpenGate();
}

}  // namespace
}  // namespace falaj::test

#include "batch/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

using testing::ElementsAre;

std::vector<TensorSpec> One(std::vector<int64_t> shape, DataType type = DataType::kFp32) {
  return {Spec("x", std::move(shape), type)};
}

BatcherOptions FixedOptions() { return DefaultOptions(One({-1, 2}), {Spec("y", {-1, 2})}); }

// Every test of this suite runs both ways: on executors, and on the submitting thread.
class BothWays : public testing::TestWithParam<bool> {
 protected:
  BatcherOptions Options() const {
    BatcherOptions options = FixedOptions();
    options.run_on_submitter = GetParam();
    return options;
  }
  static void WarmUp(ModelFixture& model) {
    for (int64_t rows = 1; rows <= 8; rows *= 2) model.batcher->Learn(rows, Nanos(1000));
  }
};
INSTANTIATE_TEST_SUITE_P(Batcher, BothWays, testing::Bool());

TEST_P(BothWays, AnswersEachRequestWithItsOwnRows) {
  ModelFixture model(Options());
  WarmUp(model);
  for (uint64_t tag = 0; tag < 200; ++tag) {
    model.Ask(tag, {Shape{static_cast<int64_t>(tag % 4), 2}}, static_cast<float>(tag));
  }
  model.sink->WaitFor(200);
  for (uint64_t tag = 0; tag < 200; ++tag) {
    EXPECT_EQ(model.sink->times()[tag], 1);
    EXPECT_EQ(model.sink->shape(tag), (Shape{static_cast<int64_t>(tag % 4), 2}));
    if (tag % 4 > 0) {
      EXPECT_EQ(model.sink->values(tag)[0], 2 * static_cast<float>(tag) + 1);
    }
  }
  EXPECT_EQ(model.batcher->Stats().on_submitter > 0, GetParam());
}

TEST_P(BothWays, DeliversExactlyOnceUnderRandomCancelsDeadlinesAndPriorities) {
  BatcherOptions options = Options();
  options.instances = 2;
  options.levels.resize(3);
  options.max_queue_rows = 1 << 20;
  ModelFixture model(std::move(options));
  WarmUp(model);
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 5'000;
  std::atomic<uint64_t> accepted{0};
  {
    std::vector<std::jthread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(t);
        for (uint64_t i = 0; i < kEach; ++i) {
          const uint64_t dice = random() % 10;
          const TimePoint deadline =
              dice == 0 ? model.clock.Now() + std::chrono::microseconds(random() % 300) : TimePoint::max();
          auto request = model.Prepare(t * kEach + i, {Shape{static_cast<int64_t>(1 + random() % 3), 2}}, 1,
                                       static_cast<int>(random() % 4), deadline);
          if (!request.ok()) continue;
          if (dice == 1) continue;  // abandoned: its rows stay empty
          accepted.fetch_add(1);
          model.batcher->Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
          if (dice == 2) model.batcher->Cancel(request->get());
        }
      });
    }
  }
  model.sink->WaitFor(accepted.load());
  EXPECT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(30)));
  EXPECT_EQ(model.sink->order().size(), accepted.load());
  for (const auto& [tag, times] : model.sink->times()) ASSERT_EQ(times, 1) << tag;
  EXPECT_EQ(model.batcher->Stats().inflight_requests, 0u);
  EXPECT_EQ(model.timer.size(), 0u);
}

TEST(Batcher, GathersWhatWaitsWhileTheInstanceIsBusy) {
  ModelFixture model(FixedOptions());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  for (uint64_t tag = 1; tag <= 10; ++tag) model.Ask(tag, {Shape{1, 2}}, static_cast<float>(tag));
  model.script.OpenGate();
  model.sink->WaitFor(11);
  EXPECT_THAT(model.script.rows(), ElementsAre(1, 8, 2));
  EXPECT_EQ(model.sink->calls(), 3);
}

// Runs that were short by what is known, on their submitter if it takes them, and take so long.
class LongRuns {
 public:
  LongRuns() : model_(Options()) { model_.batcher->Learn(1, Nanos(1000)); }

  void Run(Nanos time) {
    model_.script.CloseGate();
    std::thread opener([this, time, run = static_cast<int>(runs_) + 1] {
      model_.script.WaitUntilEntered(run);
      model_.clock.Shift(time);
      model_.script.OpenGate();
    });
    model_.Ask(runs_, {Shape{1, 2}}, static_cast<float>(runs_));
    model_.sink->WaitFor(++runs_);
    opener.join();
  }
  void Wait(Nanos time) { model_.clock.Shift(time); }
  uint64_t on_submitter() const { return model_.batcher->Stats().on_submitter; }

 private:
  static BatcherOptions Options() {
    BatcherOptions options = FixedOptions();
    options.run_on_submitter = true;
    return options;
  }
  ModelFixture model_;
  uint64_t runs_ = 0;
};

TEST(Batcher, LeavesSubmittersAloneWhenARunOnOneWasVeryLong) {
  LongRuns runs;
  runs.Run(std::chrono::milliseconds(500));
  runs.Run(Nanos(0));
  EXPECT_EQ(runs.on_submitter(), 1u);
  runs.Wait(std::chrono::seconds(50 * 500));
  runs.Run(Nanos(0));
  EXPECT_EQ(runs.on_submitter(), 2u);
}

TEST(Batcher, LeavesSubmittersAloneWhenTwoRunsOnThemWereLong) {
  LongRuns runs;
  runs.Run(std::chrono::milliseconds(15));
  runs.Run(std::chrono::milliseconds(15));
  runs.Run(Nanos(0));
  EXPECT_EQ(runs.on_submitter(), 2u);
}

TEST(Batcher, StaysOnSubmittersWhenTheyLoseTheirCoreNowAndThen) {
  LongRuns runs;
  for (uint64_t i = 1; i <= 5; ++i) {
    runs.Run(std::chrono::milliseconds(15));
    EXPECT_EQ(runs.on_submitter(), i);
    runs.Wait(std::chrono::seconds(5));
  }
}

TEST(Batcher, ServesPrioritiesFirstAndEachInOrderOfArrival) {
  BatcherOptions options = FixedOptions();
  options.levels.resize(2);
  options.default_level = 2;
  options.max_batch_rows = options.max_request_rows = 1;
  ModelFixture model(std::move(options));
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  model.Ask(1, {Shape{1, 2}}, 0);
  model.Ask(2, {Shape{1, 2}}, 0, 1);
  model.Ask(3, {Shape{1, 2}}, 0);
  model.Ask(4, {Shape{1, 2}}, 0, 1);
  model.script.OpenGate();
  model.sink->WaitFor(5);
  EXPECT_THAT(model.sink->order(), ElementsAre(0, 2, 4, 1, 3));
}

TEST(Batcher, LeavesTheOthersOfABatchAloneWhenOneIsCancelled) {
  ModelFixture model(FixedOptions());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  const RefPtr<Request> queued = model.Ask(1, {Shape{1, 2}}, 1);
  model.Ask(2, {Shape{1, 2}}, 2);
  const RefPtr<Request> running = model.Ask(3, {Shape{1, 2}}, 3);
  model.batcher->Cancel(queued.get());
  EXPECT_EQ(model.sink->code(1), Code::kCancelled);  // at once, with the instance still busy
  model.script.OpenGate();
  model.sink->WaitFor(4);
  model.batcher->Cancel(running.get());  // too late: nothing happens
  EXPECT_EQ(model.sink->values(2)[0], 5);
  EXPECT_EQ(model.sink->values(3)[0], 7);
  for (const auto& [tag, times] : model.sink->times()) EXPECT_EQ(times, 1) << tag;
}

TEST(Batcher, EndsARequestAtItsDeadlineWhileItsBatchRuns) {
  ModelFixture model(FixedOptions());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0, 0, model.clock.Now() + std::chrono::milliseconds(5));
  model.script.WaitUntilEntered(1);
  model.sink->WaitFor(1);  // although the gate is still closed
  EXPECT_EQ(model.sink->code(0), Code::kDeadlineExceeded);
  model.script.OpenGate();
  EXPECT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(10)));
  EXPECT_EQ(model.sink->times()[0], 1);
}

TEST(Batcher, RefusesAtOnceWhatCannotBeMet) {
  ModelFixture model(FixedOptions());
  for (int i = 0; i < 10; ++i) model.batcher->Learn(1, std::chrono::milliseconds(100));
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  const auto late = model.Prepare(1, {Shape{1, 2}}, 0, 0, model.clock.Now() + std::chrono::milliseconds(20));
  EXPECT_EQ(late.status().code(), Code::kDeadlineExceeded);
  EXPECT_THAT(late.status().message(), testing::HasSubstr("cannot be met"));
  EXPECT_EQ(model.batcher->Stats().admission.refused_deadline, 1u);
}

TEST(Batcher, RefusesBeyondTheServiceLevelObjective) {
  BatcherOptions options = FixedOptions();
  options.slo = std::chrono::milliseconds(150);
  ModelFixture model(std::move(options));
  for (int i = 0; i < 10; ++i) model.batcher->Learn(1, std::chrono::milliseconds(100));
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  const auto over = model.Prepare(1, {Shape{1, 2}}, 0);
  EXPECT_EQ(over.status().code(), Code::kUnavailable);
  EXPECT_THAT(over.status().message(), testing::HasSubstr("slo_ms allows 150.0 ms"));
}

TEST(Batcher, RefusesMoreRowsThanTheQueueMayHave) {
  BatcherOptions options = FixedOptions();
  options.max_queue_rows = 4;
  ModelFixture model(std::move(options));
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  model.Ask(1, {Shape{4, 2}}, 0);
  EXPECT_EQ(model.Prepare(2, {Shape{1, 2}}, 0).status().code(), Code::kUnavailable);
  model.script.OpenGate();
  model.sink->WaitFor(2);
}

TEST(Batcher, FailsOnlyTheRequestThatIsWrongWhenABatchFails) {
  ModelFixture model(FixedOptions());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  model.Ask(1, {Shape{1, 2}}, 1);
  model.Ask(2, {Shape{1, 2}}, kPoison);
  model.Ask(3, {Shape{1, 2}}, 3);
  model.script.OpenGate();
  model.sink->WaitFor(4);
  EXPECT_EQ(model.sink->code(2), Code::kInvalidInput);
  EXPECT_EQ(model.sink->values(1)[0], 3);
  EXPECT_EQ(model.sink->values(3)[0], 7);
  EXPECT_EQ(model.batcher->Stats().retried_alone, 3u);
}

TEST(Batcher, BatchesEqualShapesTogetherWhenAxesVary) {
  ModelFixture model(DefaultOptions(One({-1, -1}), {Spec("y", {-1, -1})}));
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 1}}, 0);
  model.script.WaitUntilEntered(1);
  model.Ask(1, {Shape{2, 3}}, 1);
  model.Ask(2, {Shape{1, 5}}, 2);
  model.Ask(3, {Shape{1, 3}}, 3);
  model.script.OpenGate();
  model.sink->WaitFor(4);
  EXPECT_THAT(model.script.rows(), ElementsAre(1, 3, 1));
  EXPECT_EQ(model.sink->values(3), (std::vector<float>{7, 7, 7}));
  EXPECT_EQ(model.sink->shape(2), (Shape{1, 5}));
}

TEST(Batcher, PadsMarkedAxesAndCutsTheAnswersBack) {
  BatcherOptions options = DefaultOptions(One({-1, -1}), {Spec("y", {-1, -1})});
  options.inputs[0].pad_axis = 1;
  options.inputs[0].pad_value = 9;
  options.outputs[0].unpad_axis = 1;
  options.outputs[0].like_input = 0;
  InputPlan mask;
  mask.is_mask = true;
  mask.pad_axis = 1;
  options.inputs.push_back(mask);
  options.mask_types.push_back(DataType::kInt64);
  ModelFixture model(std::move(options));
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 1}}, 0);
  model.script.WaitUntilEntered(1);
  model.Ask(1, {Shape{1, 2}}, 1);
  model.Ask(2, {Shape{2, 4}}, 2);
  model.script.OpenGate();
  model.sink->WaitFor(3);
  EXPECT_THAT(model.script.rows(), ElementsAre(1, 3));
  EXPECT_EQ(model.sink->values(1), (std::vector<float>{3, 3}));
  EXPECT_EQ(model.sink->shape(2), (Shape{2, 4}));
  EXPECT_EQ(model.batcher->Stats().padding_elements, 2u);
  EXPECT_EQ(model.batcher->Stats().elements, 11u);
}

TEST(Batcher, RunsOneByOneWhenTheModelCannotBatch) {
  BatcherOptions options = DefaultOptions(One({2}), {Spec("y", {2})});
  options.max_batch_rows = 0;
  ModelFixture model(std::move(options));
  for (uint64_t tag = 0; tag < 5; ++tag) model.Ask(tag, {Shape{2}}, static_cast<float>(tag));
  model.sink->WaitFor(5);
  EXPECT_EQ(model.batcher->Stats().batches, 5u);
  EXPECT_EQ(model.sink->values(4), (std::vector<float>{9, 9}));
}

TEST(Batcher, RunsALargerRequestAloneWhenItIsAllowed) {
  BatcherOptions options = FixedOptions();
  options.max_request_rows = 100;
  ModelFixture model(std::move(options));
  model.Ask(0, {Shape{20, 2}}, 4);
  model.sink->WaitFor(1);
  EXPECT_EQ(model.sink->values(0).size(), 40u);
  EXPECT_EQ(model.Prepare(1, {Shape{101, 2}}, 0).status().message(),
            "model 'm' version 3: expected at most 100 rows (max_batch_size), got 101");
}

TEST(Batcher, RefusesInputsWithoutElementsWhenTheModelNeedsSome) {
  for (const bool needs : {false, true}) {
    BatcherOptions options = FixedOptions();
    options.needs_elements = needs;
    ModelFixture model(std::move(options));
    const auto prepared = model.Prepare(0, {Shape{0, 2}}, 0);
    EXPECT_EQ(prepared.ok(), !needs);
    if (needs) {
      EXPECT_EQ(
          prepared.status().message(),
          "model 'm' version 3, input 'x': expected elements, got shape [0, 2]: the model has a recurrent "
          "layer, which cannot be run on none");
    }
  }
}

TEST(Batcher, NamesModelVersionTensorAndBothShapesWhenAShapeIsWrong) {
  ModelFixture model(FixedOptions());
  EXPECT_EQ(model.Prepare(0, {Shape{1, 3}}, 0).status().message(),
            "model 'm' version 3, input 'x': expected FP32 [-1, 2], got FP32 [1, 3]");
  EXPECT_EQ(model.Prepare(0, {Shape{2}}, 0).status().code(), Code::kInvalidInput);
  EXPECT_EQ(model.Prepare(0, {Shape{-1, 2}}, 0).status().code(), Code::kInvalidInput);
}

TEST(Batcher, AnswersWhatIsQueuedWithUnavailableWhenItIsClosed) {
  ModelFixture model(FixedOptions());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  model.Ask(1, {Shape{1, 2}}, 0);
  std::jthread closer([&] { model.batcher->Close(); });
  model.sink->WaitFor(1);
  EXPECT_EQ(model.sink->code(1), Code::kUnavailable);
  model.script.OpenGate();
  closer.join();
  EXPECT_EQ(model.sink->code(0), Code::kOk);
  EXPECT_EQ(model.Prepare(2, {Shape{1, 2}}, 0).status().code(), Code::kUnavailable);
}

TEST(Batcher, IsNotDrainedWhileItIsPinned) {
  ModelFixture model(FixedOptions());
  model.batcher->Pin();
  EXPECT_FALSE(model.batcher->Drain(model.clock.Now()));
  std::jthread unpin([&] { model.batcher->Unpin(); });
  EXPECT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(10)));
}

}  // namespace
}  // namespace falaj::test

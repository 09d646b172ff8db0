// Requests that end in the middle of a graph: by a failing step, a cancel, a deadline, a refusal, a closing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "fakes/pipeline_fixture.h"

namespace falaj::test {
namespace {

using testing::HasSubstr;

constexpr float kTwicePoison = (kPoison - 1) / 2;  // what a model makes kPoison of

// A diamond whose step `held` waits at its gate with the one request that is asked.
class HeldDiamond {
 public:
  explicit HeldDiamond(const std::string& held, TimePoint deadline = TimePoint::max()) : held_(held) {
    AddDiamondModels(models);
    models.AddPipeline(Diamond());
    models.ScriptOf(held).CloseGate();
    request = models.Ask("diamond", 1, 1, 1, deadline);
    models.ScriptOf(held).WaitUntilEntered(1);
  }
  // Lets the step go and waits until nothing of the request is left anywhere.
  void Release() {
    models.ScriptOf(held_).OpenGate();
    for (const auto& batcher : models.batchers) {
      ASSERT_TRUE(batcher->Drain(models.clock.Now() + std::chrono::seconds(30)));
    }
  }

  PipelineFixture models;
  RefPtr<Request> request;

 private:
  const std::string held_;
};

class AtEachStep : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Diamond, AtEachStep, testing::Values("a", "b", "c", "d"));

TEST_P(AtEachStep, ACancelEndsTheRequestAtOnceAndBeginsNoMore) {
  HeldDiamond held(GetParam());
  held.models.Of("diamond").Cancel(held.request.get());
  held.models.sink->WaitFor(1);  // while the step is still held
  EXPECT_EQ(held.models.sink->At(1).status.code(), Code::kCancelled);
  held.Release();
  EXPECT_EQ(held.models.sink->At(1).times, 1);
  EXPECT_EQ(held.models.Of("diamond").Stats().admission.cancelled, 1u);
  EXPECT_EQ(held.models.Of(GetParam()).Stats().admission.cancelled, 1u);
  const bool is_last = std::string(GetParam()) == "d";
  EXPECT_EQ(held.models.Of("d").Stats().requests_ok, 0u);
  EXPECT_EQ(held.models.ScriptOf("d").rows().size(), is_last ? 1u : 0u);
}

TEST_P(AtEachStep, ADeadlineEndsTheWhole) {
  HeldDiamond held(GetParam(), TimePoint::max() - std::chrono::hours(1));
  held.models.Of("diamond").Expire(held.request.get());  // as the timer does
  held.models.sink->WaitFor(1);
  EXPECT_EQ(held.models.sink->At(1).status.code(), Code::kDeadlineExceeded);
  EXPECT_THAT(held.models.sink->At(1).status.message(), HasSubstr("'diamond'"));
  held.Release();
  EXPECT_EQ(held.models.sink->At(1).times, 1);
  EXPECT_EQ(held.models.Of("d").Stats().requests_ok, 0u);
  EXPECT_EQ(held.models.timer.size(), 0u);
}

TEST_P(AtEachStep, AFailureNamesPipelineStepAndModel) {
  PipelineFixture models;
  AddDiamondModels(models);
  models.AddPipeline(Diamond());
  const std::string step = GetParam();
  float value = kPoison;  // a fails
  if (step == "b" || step == "c") value = kTwicePoison;
  if (step == "d") value = (kTwicePoison - 1) / 2;
  models.Ask("diamond", 1, value);
  models.Ask("diamond", 2, 1);
  models.sink->WaitFor(2);
  const Status status = models.sink->At(1).status;
  EXPECT_EQ(status.code(), Code::kInvalidInput);
  EXPECT_THAT(status.message(), HasSubstr("pipeline 'diamond' version 1, step '"));
  EXPECT_THAT(status.message(), HasSubstr("version 1: poisoned"));
  if (step == "a" || step == "d") {
    EXPECT_THAT(status.message(), HasSubstr("step '" + step + "': model '" + step + "'"));
  }
  EXPECT_TRUE(models.sink->At(2).status.ok());
  EXPECT_EQ(models.Of("diamond").Stats().requests_failed, 1u);
}

TEST(PipelineFailure, AFailedBranchWithdrawsTheOther) {
  PipelineFixture models;
  models.AddModel("a");
  for (const char* name : {"b", "c"}) {  // on executors, or the thread that is held in b would not begin c
    BatcherOptions options = PipelineFixture::OptionsOf(name, 1, 1);
    options.run_on_submitter = false;
    models.AddModel(std::move(options));
  }
  PipelinePlan plan = Diamond();
  plan.steps.resize(3);  // a, and behind it b and c
  plan.outputs = {{2}, {3}};
  models.AddPipeline(std::move(plan));
  models.ScriptOf("b").CloseGate();
  models.ScriptOf("c").CloseGate();
  models.Ask("diamond", 1, kTwicePoison);
  models.ScriptOf("b").WaitUntilEntered(1);
  models.ScriptOf("c").WaitUntilEntered(1);
  models.ScriptOf("b").OpenGate();
  models.sink->WaitFor(1);  // while c is still held
  EXPECT_THAT(models.sink->At(1).status.message(), HasSubstr("step 'b': model 'b' version 1: poisoned"));
  models.ScriptOf("c").OpenGate();
  EXPECT_TRUE(models.Of("c").Drain(models.clock.Now() + std::chrono::seconds(30)));
  EXPECT_EQ(models.Of("c").Stats().admission.cancelled, 1u);
}

TEST(PipelineFailure, AStepsFullQueueIsTold) {
  PipelineFixture models;
  models.AddModel("a");
  BatcherOptions narrow = PipelineFixture::OptionsOf("b", 1, 1);
  narrow.max_queue_rows = 1;
  narrow.run_on_submitter = false;
  models.AddModel(std::move(narrow));
  models.AddPipeline(ChainOf("p", {"a", "b"}));
  models.ScriptOf("b").CloseGate();
  models.Ask("p", 1, 1);
  models.ScriptOf("b").WaitUntilEntered(1);
  models.Ask("b", 2, 1);  // fills the queue
  models.Ask("p", 3, 1);
  models.sink->WaitFor(1);
  EXPECT_EQ(models.sink->At(3).status.code(), Code::kUnavailable);
  EXPECT_THAT(models.sink->At(3).status.message(),
              HasSubstr("pipeline 'p' version 1, step 'b': model 'b' version 1: the queue is full"));
  models.ScriptOf("b").OpenGate();
  models.sink->WaitFor(3);
  EXPECT_TRUE(models.sink->At(1).status.ok());
}

TEST(PipelineFailure, WhatIsUnderWayFillsThePipelinesQueue) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddPipeline(ChainOf("p", {"a"}), {-1, 2}, /*max_queue_rows=*/2);
  models.ScriptOf("a").CloseGate();
  models.Ask("p", 1, 1);
  models.ScriptOf("a").WaitUntilEntered(1);
  models.Ask("p", 2, 1);
  EXPECT_EQ(models.Prepare("p", 3, 1).status().code(), Code::kUnavailable);
  models.ScriptOf("a").OpenGate();
  models.sink->WaitFor(2);
  ASSERT_TRUE(models.Of("p").Drain(models.clock.Now() + std::chrono::seconds(30)));
  models.Ask("p", 4, 1);
  models.sink->WaitFor(3);
  EXPECT_TRUE(models.sink->At(4).status.ok());
}

TEST(PipelineFailure, ThePipelinesDefaultTimeoutIsForTheWhole) {
  PipelineFixture models;
  models.AddModel("a");
  PipelinePlan plan = ChainOf("p", {"a"});
  models.AddPipeline(std::move(plan), {-1, 2}, 4096, std::chrono::milliseconds(30));
  models.ScriptOf("a").CloseGate();
  models.Ask("p", 1, 1);
  models.sink->WaitFor(1);
  EXPECT_EQ(models.sink->At(1).status.code(), Code::kDeadlineExceeded);
  EXPECT_THAT(models.sink->At(1).status.message(), HasSubstr("model 'p' version 1: the deadline passed"));
}

TEST(PipelineFailure, AStepsOwnDefaultTimeoutHolds) {
  PipelineFixture models;
  BatcherOptions hasty = PipelineFixture::OptionsOf("a", 1, 1);
  hasty.levels[0].default_timeout = std::chrono::milliseconds(30);
  models.AddModel(std::move(hasty));
  models.AddPipeline(ChainOf("p", {"a"}));
  models.ScriptOf("a").CloseGate();
  models.Ask("p", 1, 1);
  models.sink->WaitFor(1);
  EXPECT_EQ(models.sink->At(1).status.code(), Code::kDeadlineExceeded);
  EXPECT_THAT(models.sink->At(1).status.message(), HasSubstr("step 'a': model 'a'"));
}

TEST(PipelineFailure, AnUnloadedModelEndsWhatWaitsForIt) {
  PipelineFixture models;
  models.AddModel("a");
  BatcherOptions waiting = PipelineFixture::OptionsOf("b", 1, 1);
  waiting.run_on_submitter = false;
  models.AddModel(std::move(waiting));
  models.AddPipeline(ChainOf("p", {"a", "b"}));
  models.ScriptOf("b").CloseGate();
  models.Ask("p", 1, 1);
  models.ScriptOf("b").WaitUntilEntered(1);
  models.Ask("p", 2, 1);
  while (models.Of("b").Stats().waiting_requests == 0) std::this_thread::yield();
  std::thread closing([&] { models.Of("b").Close(); });
  models.sink->WaitFor(1);
  EXPECT_THAT(models.sink->At(2).status.message(), HasSubstr("was unloaded before the request was run"));
  models.ScriptOf("b").OpenGate();
  closing.join();
  models.sink->WaitFor(2);
  EXPECT_TRUE(models.sink->At(1).status.ok());
}

// Two pipelines over shared models, and all that can end a request, from several threads at once.
TEST(PipelineFailure, DeliversExactlyOnceUnderRandomCancelsDeadlinesAndFailures) {
  PipelineFixture models;
  AddDiamondModels(models);
  models.AddPipeline(Diamond());
  models.AddPipeline(ChainOf("chain", {"a", "b", "c", "a"}));
  constexpr uint64_t kThreads = 3;
  constexpr uint64_t kEach = 1'500;
  std::atomic<uint64_t> accepted{0};
  {
    std::vector<std::jthread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(t);
        for (uint64_t i = 0; i < kEach; ++i) {
          const std::string pipeline = random() % 2 == 0 ? "diamond" : "chain";
          const uint64_t dice = random() % 12;
          const TimePoint deadline =
              dice == 0 ? models.clock.Now() + std::chrono::microseconds(random() % 300) : TimePoint::max();
          const float value = dice == 1 ? kPoison : dice == 2 ? kTwicePoison : 1.0F;
          const uint64_t tag = t * kEach + i;
          auto request =
              models.Prepare(pipeline, tag, value, 1 + static_cast<int64_t>(random() % 3), deadline);
          if (!request.ok() || dice == 3) continue;  // refused, or abandoned
          accepted.fetch_add(1);
          const auto run_here = random() % 2 == 0 ? Batcher::RunHere::kIfShort : Batcher::RunHere::kNever;
          models.Of(pipeline).Submit(request->get(), Batcher::Deadline::kByTimer, run_here);
          if (dice == 4) models.Of(pipeline).Cancel(request->get());
        }
      });
    }
  }
  models.sink->WaitFor(accepted.load());
  for (const auto& batcher : models.batchers) {
    ASSERT_TRUE(batcher->Drain(models.clock.Now() + std::chrono::seconds(30))) << batcher->Name();
    EXPECT_EQ(batcher->Stats().inflight_requests, 0u);
    EXPECT_EQ(batcher->Stats().waiting_rows, 0);
  }
  EXPECT_EQ(models.sink->delivered(), accepted.load());
  uint64_t succeeded = 0;
  for (const auto& [tag, answer] : models.sink->all()) {
    ASSERT_EQ(answer.times, 1) << tag;
    if (!answer.status.ok()) continue;
    ++succeeded;
    for (const auto& values : answer.values) {
      for (const float value : values) ASSERT_TRUE(value == 15 || value == 31) << value;
    }
  }
  EXPECT_GT(succeeded, accepted.load() / 2);
  EXPECT_EQ(models.timer.size(), 0u);
}

}  // namespace
}  // namespace falaj::test

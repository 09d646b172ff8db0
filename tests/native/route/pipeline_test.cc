#include "route/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "fakes/pipeline_fixture.h"

namespace falaj::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

float Twice(float x) { return 2 * x + 1; }

TEST(Pipeline, AnswersWhatItsModelsGiveOneBehindTheOther) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddModel("b");
  models.AddPipeline(ChainOf("p", {"a", "b", "a"}));
  for (uint64_t tag = 0; tag < 50; ++tag) {
    models.Ask("p", tag, static_cast<float>(tag), 1 + static_cast<int64_t>(tag % 3), TimePoint::max(),
               tag % 2 == 0 ? Batcher::RunHere::kIfShort : Batcher::RunHere::kNever);
  }
  models.sink->WaitFor(50);
  for (uint64_t tag = 0; tag < 50; ++tag) {
    const PipelineAnswer answer = models.sink->At(tag);
    ASSERT_TRUE(answer.status.ok()) << answer.status.message();
    EXPECT_EQ(answer.times, 1);
    EXPECT_EQ(answer.shapes[0], (Shape{1 + static_cast<int64_t>(tag % 3), 2}));
    for (const float value : answer.values[0]) {
      EXPECT_EQ(value, Twice(Twice(Twice(static_cast<float>(tag)))));
    }
  }
  const ModelStats stats = models.Of("p").Stats();
  EXPECT_EQ(stats.requests_ok, 50u);
  EXPECT_EQ(stats.batches, 50u);
  EXPECT_EQ(stats.inflight_requests, 0u);
  EXPECT_GE(stats.ok_request_ns, stats.ok_queue_ns + stats.ok_run_ns);
  EXPECT_EQ(models.Of("a").Stats().requests_ok, 100u);
}

TEST(Pipeline, GivesOneTensorToSeveralStepsAndJoinsThem) {
  PipelineFixture models;
  AddDiamondModels(models);
  models.AddPipeline(Diamond());
  models.Ask("diamond", 1, 5);
  models.sink->WaitFor(1);
  const PipelineAnswer answer = models.sink->At(1);
  ASSERT_TRUE(answer.status.ok()) << answer.status.message();
  const float expected = Twice(Twice(Twice(5)));
  EXPECT_THAT(answer.values, ElementsAre(ElementsAre(expected, expected), ElementsAre(expected, expected)));
}

// The whole chain runs on the thread that asks, and no batch inside of another one's delivery.
TEST(Pipeline, RunsAShortChainOnItsSubmitter) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddModel("b");
  models.AddPipeline(ChainOf("p", {"a", "b", "a", "b"}));
  // The thread is kept for a short while only, and a machine may be slow: once in many times is enough.
  uint64_t asked = 0;
  const auto here = [&] { return models.Of("a").Stats().on_submitter + models.Of("b").Stats().on_submitter; };
  for (bool whole = false; !whole && asked < 1000;) {
    const uint64_t before = here();
    models.Ask("p", asked, 1, 1, TimePoint::max(), Batcher::RunHere::kIfShort);
    models.sink->WaitFor(++asked);
    whole = here() - before == 4;
  }
  EXPECT_LT(asked, 1000u);
}

TEST(Pipeline, RequestsOfPipelinesAndOthersMeetInOneBatch) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddPipeline(ChainOf("p", {"a"}));
  models.AddPipeline(ChainOf("q", {"a"}));
  Script& script = models.ScriptOf("a");
  script.CloseGate();
  models.Ask("a", 0, 0);
  script.WaitUntilEntered(1);
  models.Ask("p", 1, 1);
  models.Ask("q", 2, 2);
  models.Ask("a", 3, 3);
  script.OpenGate();
  models.sink->WaitFor(4);
  EXPECT_THAT(script.rows(), ElementsAre(1, 3));
}

TEST(Pipeline, RunsTheNextBatchWhereTheOneBeforeLeftItsAnswers) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddModel("b");
  models.AddPipeline(ChainOf("p", {"a", "b"}));
  Script& script = models.ScriptOf("a");
  script.CloseGate();
  models.Ask("a", 0, 0);
  script.WaitUntilEntered(1);
  std::vector<RefPtr<Request>> asked;
  for (uint64_t tag = 1; tag <= 4; ++tag) asked.push_back(models.Ask("p", tag, static_cast<float>(tag)));
  script.OpenGate();
  models.sink->WaitFor(5);
  EXPECT_THAT(models.ScriptOf("b").rows(), ElementsAre(4));
  // What b read is what a wrote: nothing was copied on the way.
  EXPECT_EQ(models.ScriptOf("b").read()[0], script.written()[1]);
  for (uint64_t tag = 1; tag <= 4; ++tag) {
    EXPECT_EQ(models.sink->At(tag).values[0][0], Twice(Twice(static_cast<float>(tag))));
  }
}

TEST(Pipeline, GathersWhatDoesNotLieTogether) {
  PipelineFixture models;
  models.AddModel("a");
  BatcherOptions waiting = PipelineFixture::OptionsOf("b", 1, 1);
  waiting.run_on_submitter = false;  // or whoever brings a request would run it as a guest
  models.AddModel(std::move(waiting));
  models.AddPipeline(ChainOf("p", {"a", "b"}));
  Script& script = models.ScriptOf("b");
  script.CloseGate();
  models.Ask("b", 0, 0);
  script.WaitUntilEntered(1);
  std::vector<RefPtr<Request>> asked;
  for (uint64_t tag = 1; tag <= 3; ++tag) {
    asked.push_back(models.Ask("p", tag, static_cast<float>(tag)));  // each alone through a
    while (models.Of("b").Stats().waiting_requests < tag) std::this_thread::yield();
  }
  script.OpenGate();
  models.sink->WaitFor(4);
  EXPECT_THAT(script.rows(), ElementsAre(1, 3));
  for (uint64_t tag = 1; tag <= 3; ++tag) {
    EXPECT_EQ(models.sink->At(tag).values[0][0], Twice(Twice(static_cast<float>(tag))));
  }
}

TEST(Pipeline, HandsABatchOnInOneCall) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddModel("b");
  models.AddPipeline(ChainOf("p", {"a", "b"}));
  Script& script = models.ScriptOf("a");
  script.CloseGate();
  models.Ask("a", 0, 0);
  script.WaitUntilEntered(1);
  for (uint64_t tag = 1; tag <= 4; ++tag) models.Ask("p", tag, 1);
  script.OpenGate();
  models.sink->WaitFor(5);
  EXPECT_EQ(models.sink->calls(), 2);
}

TEST(Pipeline, AsksAPipelineAsAStep) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddModel("b");
  models.AddPipeline(ChainOf("inner", {"a", "b"}));
  PipelinePlan outer = ChainOf("outer", {"b", "inner"});
  outer.steps[1].inputs[0].name = "x";
  outer.steps[1].outputs[0].name = "h1";
  models.AddPipeline(std::move(outer));
  models.Ask("outer", 1, 3, 2, TimePoint::max(), Batcher::RunHere::kIfShort);
  models.Ask("outer", 2, 4);
  models.sink->WaitFor(2);
  EXPECT_EQ(models.sink->At(1).values[0][0], Twice(Twice(Twice(3))));
  EXPECT_EQ(models.sink->At(2).values[0][0], Twice(Twice(Twice(4))));
}

TEST(Pipeline, AsksTheVersionThatIsServedNow) {
  PipelineFixture models;
  models.AddModel(PipelineFixture::OptionsOf("a", 1, 1, 1));
  models.AddPipeline(ChainOf("p", {"a"}));
  PipelinePlan pinned = ChainOf("pinned", {"a"});
  pinned.steps[0].version = 1;
  models.AddPipeline(std::move(pinned));
  models.AddModel(PipelineFixture::OptionsOf("a", 1, 1, 2));
  models.Ask("p", 1, 1);
  models.Ask("pinned", 2, 1);
  models.sink->WaitFor(2);
  EXPECT_EQ(models.entries.at("a").versions.at(2)->Stats().requests_ok, 1u);
  EXPECT_EQ(models.entries.at("a").versions.at(1)->Stats().requests_ok, 1u);
}

TEST(Pipeline, SaysWhichModelDoesNotFitAnyMore) {
  PipelineFixture models;
  models.AddModel(PipelineFixture::OptionsOf("a", 1, 1, 1));
  models.AddPipeline(ChainOf("p", {"a"}));
  models.AddModel(PipelineFixture::OptionsOf("a", 2, 1, 2));
  models.Ask("p", 1, 1);
  models.sink->WaitFor(1);
  EXPECT_EQ(models.sink->At(1).status.code(), Code::kUnavailable);
  EXPECT_THAT(models.sink->At(1).status.message(),
              HasSubstr("pipeline 'p' version 1, step 'a': model 'a' version 2 does not fit the pipeline any "
                        "more: nothing is given for its input 'x1'"));
  BatcherOptions typed = PipelineFixture::OptionsOf("a", 1, 1, 3);
  typed.signature.inputs[0].type = DataType::kInt64;
  models.AddModel(std::move(typed));
  models.Ask("p", 2, 1);
  models.sink->WaitFor(2);
  EXPECT_THAT(models.sink->At(2).status.message(), HasSubstr("input 'x0': expected FP32, it has INT64"));
  models.AddModel(PipelineFixture::OptionsOf("a", 1, 1, 4));
  models.Ask("p", 3, 1);
  models.sink->WaitFor(3);
  EXPECT_TRUE(models.sink->At(3).status.ok());
}

TEST(Pipeline, SaysWhichModelIsAway) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddPipeline(ChainOf("p", {"a", "gone"}));
  models.Ask("p", 1, 1);
  models.sink->WaitFor(1);
  EXPECT_EQ(models.sink->At(1).status.code(), Code::kUnavailable);
  EXPECT_THAT(models.sink->At(1).status.message(), HasSubstr("step 'gone': model 'gone' is not known"));
}

TEST(Pipeline, GoesToItsModelsInTheirOwnPriority) {
  PipelineFixture models;
  models.AddModel("a");
  models.AddPipeline(ChainOf("p", {"a"}));
  auto request = models.Prepare("p", 1, 1);
  ASSERT_TRUE(request.ok());
  (*request)->priority = 1;
  models.Of("p").Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
  models.sink->WaitFor(1);
  EXPECT_TRUE(models.sink->At(1).status.ok());
}

TEST(Pipeline, TellsThatAStepsFeaturesWereStale) {
  PipelineFixture models;
  BatcherOptions joined = PipelineFixture::OptionsOf("a", 1, 1);
  joined.tells_members = true;
  models.AddModel(std::move(joined));
  models.AddModel("b");
  models.AddPipeline(ChainOf("p", {"a", "b"}));
  models.Ask("p", 1, kStale);
  models.sink->WaitFor(1);
  models.Ask("p", 2, 1);
  models.sink->WaitFor(2);
  EXPECT_TRUE(models.sink->At(1).stale);
  EXPECT_FALSE(models.sink->At(2).stale);
  EXPECT_EQ(models.Of("p").Stats().stale_features, 1u);
}

TEST(Pipeline, LeavesNothingBehindWhenAllIsClosed) {
  std::vector<std::weak_ptr<Batcher>> left;
  std::vector<std::weak_ptr<Pipeline>> pipelines;
  {
    PipelineFixture models;
    AddDiamondModels(models);
    models.AddPipeline(Diamond());
    Script& script = models.ScriptOf("c");
    models.Ask("diamond", 1, 1);
    models.Ask("diamond", 2, kPoison);
    models.sink->WaitFor(2);
    script.CloseGate();
    const auto cancelled = models.Ask("diamond", 3, 1);
    script.WaitUntilEntered(2);
    models.Of("diamond").Cancel(cancelled.get());
    script.OpenGate();
    models.CloseAll();
    left.assign(models.batchers.begin(), models.batchers.end());
    pipelines = models.pipelines;
  }
  for (const auto& pipeline : pipelines) EXPECT_TRUE(pipeline.expired());
  for (const auto& batcher : left) EXPECT_TRUE(batcher.expired());
}

TEST(PipelinePlan, RefusesWhatIsNoPlan) {
  PipelinePlan unordered = ChainOf("p", {"a", "b"});
  std::swap(unordered.steps[0], unordered.steps[1]);
  EXPECT_EQ(unordered.Check().code(), Code::kInvalidInput);
  PipelinePlan range = ChainOf("p", {"a"});
  range.steps[0].outputs[0].tensor = 7;
  EXPECT_EQ(range.Check().code(), Code::kInvalidInput);
  PipelinePlan onto_input = ChainOf("p", {"a"});
  onto_input.steps[0].outputs[0].tensor = 0;
  EXPECT_EQ(onto_input.Check().code(), Code::kInvalidInput);
  PipelinePlan nothing = ChainOf("p", {"a"});
  nothing.outputs[0].tensor = 9;
  EXPECT_EQ(nothing.Check().code(), Code::kInvalidInput);
  PipelinePlan condition = ChainOf("p", {"a"});
  condition.steps[0].when = StepCondition{1, StepCondition::Kind::kIn, {1}};
  EXPECT_EQ(condition.Check().code(), Code::kInvalidInput);
  EXPECT_TRUE(ChainOf("p", {"a", "b"}).Check().ok());
}

}  // namespace
}  // namespace falaj::test

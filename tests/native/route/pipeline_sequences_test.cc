// Sequences through a pipeline, one step of which keeps them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/pipeline_fixture.h"

namespace falaj::test {
namespace {

using testing::HasSubstr;

RequestSequence First(uint64_t id) { return {{id, ""}, true, false}; }
RequestSequence Next(uint64_t id) { return {{id, ""}, false, false}; }
RequestSequence Last(uint64_t id) { return {{id, ""}, false, true}; }

// x -> a -> b, of which b keeps sequences.
class PipelineSequencesTest : public testing::Test {
 protected:
  PipelineSequencesTest() {
    models_.AddModel("a");
    AddStateful(1);
    PipelinePlan plan = ChainOf("p", {"a", "b"});
    plan.keeps_sequences = true;
    models_.AddPipeline(std::move(plan));
  }
  void AddStateful(int64_t version) {
    BatcherOptions options = PipelineFixture::OptionsOf("b", 1, 1, version);
    options.sequences.emplace();
    models_.AddModel(std::move(options));
  }
  RefPtr<Request> Ask(uint64_t tag, RequestSequence sequence, float value = 1) {
    auto request = models_.Prepare("p", tag, value, 1, TimePoint::max(), std::move(sequence));
    EXPECT_TRUE(request.ok()) << request.status().message();
    models_.Of("p").Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
    return *request;
  }
  PipelineAnswer Answer(uint64_t tag) { return models_.sink->At(tag); }
  size_t Live(const std::string& model) { return models_.Of(model).Stats().sequences.live; }

  PipelineFixture models_;
};

TEST_F(PipelineSequencesTest, RequestsOfOneFollowEachOtherAndOthersPass) {
  models_.ScriptOf("b").CloseGate();
  Ask(0, First(1), 1);
  models_.ScriptOf("b").WaitUntilEntered(1);
  for (uint64_t tag = 1; tag < 5; ++tag) Ask(tag, tag == 4 ? Last(1) : Next(1), static_cast<float>(tag + 1));
  Ask(5, First(2), 50);
  EXPECT_EQ(models_.Of("p").Stats().waiting_requests, 4u);
  EXPECT_EQ(Live("p"), 2u);
  models_.ScriptOf("b").OpenGate();
  models_.sink->WaitFor(6);
  for (uint64_t tag = 0; tag < 5; ++tag) {
    ASSERT_TRUE(Answer(tag).status.ok()) << Answer(tag).status.message();
    EXPECT_EQ(Answer(tag).values[0][0], 4 * static_cast<float>(tag + 1) + 3);
  }
  EXPECT_EQ(Answer(5).values[0][0], 203);
  EXPECT_EQ(Live("b"), 1u);
  EXPECT_EQ(Live("p"), 1u);
}

TEST_F(PipelineSequencesTest, AWithdrawnRequestGivesItsTurnOn) {
  models_.ScriptOf("a").CloseGate();
  const RefPtr<Request> first = Ask(0, First(1));
  models_.ScriptOf("a").WaitUntilEntered(1);
  Ask(1, Next(1));
  Ask(2, First(1), 5);
  models_.Of("p").Cancel(first.get());
  models_.ScriptOf("a").OpenGate();
  models_.sink->WaitFor(3);
  EXPECT_EQ(Answer(0).status.code(), Code::kCancelled);
  // The step never saw the start.
  EXPECT_EQ(Answer(1).status.code(), Code::kInvalidInput);
  EXPECT_THAT(Answer(1).status.message(), HasSubstr("pipeline 'p' version 1, step 'b': "));
  EXPECT_THAT(Answer(1).status.message(), HasSubstr("sequence 1 is not under way"));
  EXPECT_EQ(Answer(2).values[0][0], 23);
}

TEST_F(PipelineSequencesTest, AStartUnderALiveIdWaitsForWhatWasAskedBefore) {
  models_.ScriptOf("a").CloseGate();
  Ask(0, First(1));
  models_.ScriptOf("a").WaitUntilEntered(1);
  Ask(1, Last(1));
  Ask(2, First(1));
  Ask(3, Last(1));
  EXPECT_EQ(models_.Of("p").Stats().waiting_requests, 3u);
  models_.ScriptOf("a").OpenGate();
  models_.sink->WaitFor(4);
  for (uint64_t tag = 0; tag < 4; ++tag) EXPECT_TRUE(Answer(tag).status.ok()) << tag;
  EXPECT_EQ(models_.Of("p").Stats().sequences.begun, 2u);
  EXPECT_EQ(Live("p") + Live("b"), 0u);
}

TEST_F(PipelineSequencesTest, OneThatWaitsIsWithdrawnFromTheLine) {
  models_.ScriptOf("a").CloseGate();
  Ask(0, First(1));
  models_.ScriptOf("a").WaitUntilEntered(1);
  const RefPtr<Request> second = Ask(1, Next(1));
  Ask(2, Next(1));
  models_.Of("p").Cancel(second.get());
  models_.ScriptOf("a").OpenGate();
  models_.sink->WaitFor(3);
  EXPECT_EQ(Answer(1).status.code(), Code::kCancelled);
  EXPECT_TRUE(Answer(2).status.ok());
  EXPECT_EQ(models_.Of("a").Stats().requests_ok, 2u);
}

TEST_F(PipelineSequencesTest, AreFinishedByTheVersionsThatBeganThem) {
  Ask(0, First(1));
  models_.sink->WaitFor(1);
  ModelEntry& entry = models_.entries["b"];
  const std::shared_ptr<Batcher> old = entry.serving;
  entry.versions.clear();
  entry.lingering.push_back(old);
  AddStateful(2);
  Ask(1, First(2));
  Ask(2, Next(1));
  models_.sink->WaitFor(3);
  Ask(3, Last(1));
  Ask(4, Last(2));
  models_.sink->WaitFor(5);
  for (uint64_t tag = 0; tag < 5; ++tag) EXPECT_TRUE(Answer(tag).status.ok()) << tag;
  EXPECT_EQ(old->Stats().requests_ok, 3u);
  EXPECT_EQ(models_.Of("b").Stats().requests_ok, 2u);
  EXPECT_EQ(Live("p") + Live("b") + old->Stats().sequences.live, 0u);
}

TEST_F(PipelineSequencesTest, AreRefusedAsByAnyModelThatKeepsThem) {
  EXPECT_THAT(models_.Prepare("p", 0, 1).status().message(), HasSubstr("expected a sequence_id"));
  EXPECT_THAT(models_.Prepare("p", 0, 1, 1, TimePoint::max(), Next(7)).status().message(),
              HasSubstr("sequence 7 is not under way"));
  EXPECT_THAT(models_.Prepare("p", 0, 1, 2, TimePoint::max(), First(7)).status().message(),
              HasSubstr("expected 1 row"));
}

TEST_F(PipelineSequencesTest, AModelThatBeginsToKeepThemFitsAPipelineNoMoreThatDoesNot) {
  models_.AddPipeline(ChainOf("plain", {"a", "b"}));
  models_.Ask("plain", 0, 1);
  models_.sink->WaitFor(1);
  EXPECT_EQ(Answer(0).status.code(), Code::kUnavailable);
  EXPECT_THAT(Answer(0).status.message(),
              HasSubstr("model 'b' version 1 does not fit the pipeline any more: it keeps sequences"));
}

// Failures that come at once, one after another, must not end one within the other.
TEST_F(PipelineSequencesTest, ALongLineOfFailuresNeedsNoDeepStack) {
  models_.ScriptOf("a").CloseGate();
  Ask(0, First(1));
  models_.ScriptOf("a").WaitUntilEntered(1);
  constexpr uint64_t kRequests = 4000;
  for (uint64_t tag = 1; tag < kRequests; ++tag) Ask(tag, Next(1));
  models_.entries["a"].serving = nullptr;  // each request finds no model at its first step
  models_.entries["a"].why_not = "it was taken out";
  models_.table.Publish(std::make_shared<ModelEntries>(models_.entries));
  models_.ScriptOf("a").OpenGate();
  models_.sink->WaitFor(kRequests);
  EXPECT_TRUE(Answer(0).status.ok());
  EXPECT_EQ(Answer(kRequests - 1).status.code(), Code::kUnavailable);
}

}  // namespace
}  // namespace falaj::test

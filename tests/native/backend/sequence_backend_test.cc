#include "backend/sequence_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "fakes/accumulator.h"

namespace falaj::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// One request of a batch.
struct Row {
  float x = 0;
  SequenceState* state = nullptr;
  RequestSequence sequence;
};

RequestSequence Numbered(uint64_t number, bool start = false, bool end = false) {
  return {{number, ""}, start, end};
}

class SequenceBackendTest : public testing::Test {
 protected:
  void Make(SequencePlan plan) {
    backend_ = NewSequenceBackend(std::make_unique<AccumulatorBackend>(&script_), std::move(plan));
    instance_ = std::move(backend_->NewInstance()).value();
  }
  Status Run(std::vector<Row> rows) {
    std::vector<float> x;
    members_.clear();
    for (const Row& row : rows) {
      BatchMember& member = members_.emplace_back();
      member.first_row = static_cast<int64_t>(x.size());
      member.rows = 1;
      member.sequence = &row.sequence;
      member.state = row.state;
      x.push_back(row.x);
    }
    const Shape shape{static_cast<int64_t>(x.size()), 1};
    const std::vector<TensorView> inputs = {{DataType::kFp32, shape, x.data()}};
    y_.assign(x.size(), -1);
    std::vector<TensorView> outputs = {{DataType::kFp32, shape, y_.data()}};
    std::vector<std::shared_ptr<void>> owners;
    const Status status = instance_->Run({inputs, outputs, &owners, members_});
    if (status.ok() && outputs[0].data != y_.data()) {
      std::memcpy(y_.data(), outputs[0].data, outputs[0].bytes());
    }
    return status;
  }

  AccumulatorScript script_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Instance> instance_;
  std::vector<BatchMember> members_;
  std::vector<float> y_;
};

TEST_F(SequenceBackendTest, ShowsNeitherControlsNorStates) {
  Make(AccumulatorPlan());
  ASSERT_EQ(backend_->Describe().inputs.size(), 1u);
  EXPECT_EQ(backend_->Describe().inputs[0].name, "x");
  ASSERT_EQ(backend_->Describe().outputs.size(), 1u);
  EXPECT_EQ(backend_->Describe().outputs[0].name, "y");
}

TEST_F(SequenceBackendTest, HandsEachSequenceItsOwnState) {
  Make(AccumulatorPlan());
  SequenceState a, b;
  ASSERT_TRUE(Run({{1, &a, Numbered(7, true)}, {10, &b, Numbered(8, true)}}).ok());
  EXPECT_THAT(y_, ElementsAre(1, 10));
  ASSERT_TRUE(Run({{20, &b, Numbered(8)}, {2, &a, Numbered(7, false, true)}}).ok());
  EXPECT_THAT(y_, ElementsAre(30, 3));
  const AccumulatorRun run = script_.runs()[1];
  EXPECT_THAT(run.start, ElementsAre(0, 0));
  EXPECT_THAT(run.end, ElementsAre(0, 1));
  EXPECT_THAT(run.ready, ElementsAre(7, 7));
  EXPECT_THAT(run.id, ElementsAre(8u, 7u));
  EXPECT_THAT(run.sum_in, ElementsAre(10, 1));
  EXPECT_THAT(script_.runs()[0].start, ElementsAre(1, 1));
}

TEST_F(SequenceBackendTest, BeginsWithTheStateThatWasGiven) {
  SequencePlan plan = AccumulatorPlan();
  const float first = 100;
  plan.values[0].initial.resize(sizeof first);
  std::memcpy(plan.values[0].initial.data(), &first, sizeof first);
  Make(std::move(plan));
  SequenceState a;
  ASSERT_TRUE(Run({{1, &a, Numbered(7, true)}}).ok());
  ASSERT_TRUE(Run({{1, &a, Numbered(7)}}).ok());
  EXPECT_THAT(y_, ElementsAre(102));
}

TEST_F(SequenceBackendTest, KeepsNothingWhenTheRunFails) {
  Make(AccumulatorPlan());
  SequenceState a, b;
  ASSERT_TRUE(Run({{1, &a, Numbered(7, true)}}).ok());
  EXPECT_FALSE(Run({{5, &a, Numbered(7)}, {kPoison, &b, Numbered(8, true)}}).ok());
  ASSERT_TRUE(Run({{5, &a, Numbered(7)}}).ok());
  EXPECT_THAT(y_, ElementsAre(6));
  EXPECT_TRUE(b.values.empty());
}

TEST_F(SequenceBackendTest, RunsWhatHasNoStateAsTheFirstOfNewSequences) {
  Make(AccumulatorPlan());
  ASSERT_TRUE(Run({{4, nullptr, {}}}).ok());
  EXPECT_THAT(y_, ElementsAre(4));
  EXPECT_THAT(script_.runs()[0].start, ElementsAre(1));
}

TEST_F(SequenceBackendTest, PutsEachSequenceIntoItsSlot) {
  SequencePlan plan = AccumulatorPlan();
  plan.by_slot = true;
  Make(std::move(plan));
  SequenceState a, b;
  a.slot = 3;
  b.slot = 1;
  ASSERT_TRUE(Run({{1, &a, Numbered(7, true)}, {10, &b, Numbered(8, true)}}).ok());
  EXPECT_THAT(y_, ElementsAre(1, 10));
  const AccumulatorRun run = script_.runs()[0];
  EXPECT_THAT(run.ready, ElementsAre(-5, 7, -5, 7));
  EXPECT_THAT(run.start, ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(run.id, ElementsAre(0u, 8u, 0u, 7u));
  EXPECT_THAT(run.x, ElementsAre(0, 10, 0, 1));
  ASSERT_TRUE(Run({{20, &b, Numbered(8)}}).ok());
  EXPECT_THAT(y_, ElementsAre(30));
  EXPECT_THAT(script_.runs()[1].sum_in, ElementsAre(0, 10));
}

TEST_F(SequenceBackendTest, RefusesATextWhereTheModelTakesNumbersAndAnswersTheOthers) {
  Make(AccumulatorPlan());
  SequenceState a, b;
  ASSERT_TRUE(Run({{1, &a, {{0, "tram"}, true, false}}, {2, &b, Numbered(8, true)}}).ok());
  EXPECT_EQ(members_[0].status.code(), Code::kInvalidInput);
  EXPECT_THAT(members_[0].status.message(),
              HasSubstr("sequence_id 'tram': the model takes ids of type UINT64"));
  EXPECT_TRUE(members_[1].status.ok());
  EXPECT_EQ(y_[1], 2);
  EXPECT_TRUE(a.values.empty());
}

TEST_F(SequenceBackendTest, BoundsTheSizeOfAState) {
  SequencePlan plan = AccumulatorPlan();
  plan.max_value_bytes = 3;
  Make(std::move(plan));
  SequenceState a;
  const Status status = Run({{1, &a, Numbered(7, true)}});
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("state 'sum_out': 4 bytes"));
}

TEST(SequencePlanTest, IsRefusedWhenItDoesNotFitTheModel) {
  const AccumulatorBackend model(nullptr);
  const auto refused = [&](auto change, const char* why) {
    SequencePlan plan = AccumulatorPlan();
    change(plan);
    const Status status = CheckSequencePlan(model.Describe(), plan);
    EXPECT_EQ(status.code(), Code::kInvalidInput) << why;
    EXPECT_THAT(status.message(), HasSubstr(why));
  };
  EXPECT_TRUE(CheckSequencePlan(model.Describe(), AccumulatorPlan()).ok());
  refused([](SequencePlan& plan) { plan.inputs.clear(); }, "an input that requests carry");
  refused(
      [](SequencePlan& plan) {
        plan.controls[0].input = 5;
        plan.controls[0].kind = SequenceControl::Kind::kId;
      },
      "control 'sum_in': expected INT32");
  refused([](SequencePlan& plan) { plan.values[0].input = 1; }, "one type of numbers");
  refused([](SequencePlan& plan) { plan.values[0].initial_shape = Shape{2}; }, "a sequence begins with [2]");
  refused([](SequencePlan& plan) { plan.values[0].initial_shape = Shape{1, 1}; }, "3 dimensions");
  refused([](SequencePlan& plan) { plan.values[0].initial.resize(3); },
          "expected 4 bytes to begin with, got 3");
}

}  // namespace
}  // namespace falaj::test

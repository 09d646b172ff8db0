// Steps that are run for some requests only, and what becomes of what they would have made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "fakes/pipeline_fixture.h"
#include "route/step_condition.h"

namespace falaj::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Kind = StepCondition::Kind;

Result<bool> Compare(StepCondition condition, std::vector<float> values) {
  const auto rows = static_cast<int64_t>(values.size());
  return Holds(condition, {DataType::kFp32, Shape{rows, 1}, values.data()});
}

TEST(StepCondition, ComparesTheScalarOfAllRows) {
  EXPECT_TRUE(*Compare({0, Kind::kIn, {1, 2}}, {2, 2}));
  EXPECT_FALSE(*Compare({0, Kind::kIn, {1, 2}}, {3}));
  EXPECT_TRUE(*Compare({0, Kind::kNotIn, {1, 2}}, {3}));
  EXPECT_FALSE(*Compare({0, Kind::kNotIn, {1, 2}}, {1}));
  EXPECT_TRUE(*Compare({0, Kind::kBelow, {0.5}}, {0.25}));
  EXPECT_FALSE(*Compare({0, Kind::kBelow, {0.5}}, {0.5}));
  EXPECT_TRUE(*Compare({0, Kind::kAtLeast, {0.5}}, {0.5}));
  EXPECT_FALSE(*Compare({0, Kind::kAtLeast, {0.5}}, {0.25}));
}

TEST(StepCondition, TakesNaNForNoValue) {
  const float nan = std::nanf("");
  EXPECT_FALSE(*Compare({0, Kind::kIn, {1}}, {nan, nan}));
  EXPECT_TRUE(*Compare({0, Kind::kNotIn, {1}}, {nan}));
  EXPECT_FALSE(*Compare({0, Kind::kBelow, {1}}, {nan}));
  EXPECT_FALSE(*Compare({0, Kind::kAtLeast, {1}}, {nan}));
}

TEST(StepCondition, RefusesRowsThatDiffer) {
  const auto differ = Compare({0, Kind::kIn, {1}}, {1, 1, 2.5});
  EXPECT_EQ(differ.status().code(), Code::kInvalidInput);
  EXPECT_THAT(differ.status().message(), HasSubstr("1 in row 0, 2.5 in row 2"));
  EXPECT_EQ(Compare({0, Kind::kIn, {1}}, {}).status().code(), Code::kInvalidInput);
}

TEST(StepCondition, ReadsEveryTypeOfNumber) {
  const auto holds = [](DataType type, auto value) {
    return *Holds({0, Kind::kIn, {1}}, {type, Shape{1}, &value});
  };
  EXPECT_TRUE(holds(DataType::kBool, uint8_t{1}));
  EXPECT_TRUE(holds(DataType::kUint8, uint8_t{1}));
  EXPECT_TRUE(holds(DataType::kUint16, uint16_t{1}));
  EXPECT_TRUE(holds(DataType::kUint32, uint32_t{1}));
  EXPECT_TRUE(holds(DataType::kUint64, uint64_t{1}));
  EXPECT_TRUE(holds(DataType::kInt8, int8_t{1}));
  EXPECT_TRUE(holds(DataType::kInt16, int16_t{1}));
  EXPECT_TRUE(holds(DataType::kInt32, int32_t{1}));
  EXPECT_TRUE(holds(DataType::kInt64, int64_t{1}));
  EXPECT_TRUE(holds(DataType::kFp16, uint16_t{0x3C00}));
  EXPECT_TRUE(holds(DataType::kBf16, uint16_t{0x3F80}));
  EXPECT_TRUE(holds(DataType::kFp32, 1.0F));
  EXPECT_TRUE(holds(DataType::kFp64, 1.0));
  EXPECT_FALSE(holds(DataType::kInt8, int8_t{-1}));
}

// x -> route -> r; where r is 3 (x is 1): low -> y, where it is 5 (x is 2): high -> mid -> y.
class Branches : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"route", "low", "high", "mid"}) models_.AddModel(name);
    for (const char* tensor : {"x", "r", "h", "y"}) plan_.tensors.push_back({tensor, DataType::kFp32});
    plan_.name = "p";
    plan_.inputs = 1;
    plan_.steps = {{"route", "route", 0, {{"x0", 0}}, {{"y0", 1}}, std::nullopt},
                   {"low", "low", 0, {{"x0", 0}}, {{"y0", 3}}, StepCondition{1, Kind::kIn, {3}}},
                   {"high", "high", 0, {{"x0", 0}}, {{"y0", 2}}, StepCondition{1, Kind::kIn, {5}}},
                   {"mid", "mid", 0, {{"x0", 2}}, {{"y0", 3}}, std::nullopt}};
    plan_.outputs = {{3}};
  }

  PipelineFixture models_;
  PipelinePlan plan_;
};

TEST_F(Branches, RunsOnlyTheOneThatIsTaken) {
  models_.AddPipeline(plan_);
  models_.Ask("p", 1, 1);
  models_.Ask("p", 2, 2, 3);
  models_.sink->WaitFor(2);
  EXPECT_THAT(models_.sink->At(1).values, ElementsAre(ElementsAre(3, 3)));
  EXPECT_EQ(models_.sink->At(2).values[0][5], 11);
  EXPECT_EQ(models_.Of("low").Stats().requests_ok, 1u);
  EXPECT_EQ(models_.Of("high").Stats().requests_ok, 1u);
  EXPECT_EQ(models_.Of("mid").Stats().requests_ok, 1u);
}

TEST_F(Branches, FailsWhereNoBranchMakesAnOutput) {
  models_.AddPipeline(plan_);
  models_.Ask("p", 1, 7);
  models_.sink->WaitFor(1);
  EXPECT_EQ(models_.sink->At(1).status.code(), Code::kInvalidInput);
  EXPECT_THAT(
      models_.sink->At(1).status.message(),
      HasSubstr("output 'y': no step has made it: the branches of its steps ('low', 'mid') were not"));
}

TEST_F(Branches, GivesTheDefaultWhereNoBranchMakesAnOutput) {
  const float row[] = {-1, -2};
  plan_.outputs[0].default_row.emplace(reinterpret_cast<const char*>(row), sizeof(row));
  plan_.outputs[0].default_shape = {2};
  models_.AddPipeline(plan_);
  models_.Ask("p", 1, 7, 2);
  models_.Ask("p", 2, 1);
  models_.sink->WaitFor(2);
  EXPECT_THAT(models_.sink->At(1).values, ElementsAre(ElementsAre(-1, -2, -1, -2)));
  EXPECT_EQ(models_.sink->At(1).shapes[0], (Shape{2, 2}));
  EXPECT_THAT(models_.sink->At(2).values, ElementsAre(ElementsAre(3, 3)));
}

TEST_F(Branches, RefusesRowsOfSeveralBranches) {
  models_.AddPipeline(plan_);
  auto request = models_.Prepare("p", 1, 1, 2);
  ASSERT_TRUE(request.ok());
  static_cast<float*>((*request)->inputs()[0].data)[3] = 2;
  models_.Of("p").Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
  models_.sink->WaitFor(1);
  EXPECT_EQ(models_.sink->At(1).status.code(), Code::kInvalidInput);
  EXPECT_THAT(
      models_.sink->At(1).status.message(),
      HasSubstr("pipeline 'p' version 1, step 'low': `when`, tensor 'r': a request takes a branch as a "
                "whole and its rows differ"));
}

TEST_F(Branches, RefusesATensorThatTwoOfThemMake) {
  plan_.steps[1].when = StepCondition{1, Kind::kAtLeast, {3}};  // which the loader would not let pass
  models_.AddPipeline(plan_);
  models_.Ask("p", 1, 2);
  models_.sink->WaitFor(1);
  EXPECT_EQ(models_.sink->At(1).status.code(), Code::kInvalidInput);
  EXPECT_THAT(models_.sink->At(1).status.message(), HasSubstr("of another branch has made already"));
}

TEST_F(Branches, EndsAtOnceWhereNothingIsRun) {
  plan_.steps[0].when = StepCondition{0, Kind::kBelow, {-100}};
  const float row[] = {0, 0};
  plan_.outputs[0].default_row.emplace(reinterpret_cast<const char*>(row), sizeof(row));
  plan_.outputs[0].default_shape = {2};
  models_.AddPipeline(plan_);
  models_.Ask("p", 1, 1);
  models_.sink->WaitFor(1);
  EXPECT_TRUE(models_.sink->At(1).status.ok());
  EXPECT_EQ(models_.Of("route").Stats().batches, 0u);
}

}  // namespace
}  // namespace falaj::test

#include "batch/decision.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace falaj {
namespace {

struct Case {
  std::vector<Waiting> queue;
  int64_t max_rows;
};

Case RandomCase(std::mt19937& random) {
  Case made;
  made.max_rows = std::uniform_int_distribution<int64_t>(1, 32)(random);
  const int size = std::uniform_int_distribution<int>(1, 40)(random);
  for (int i = 0; i < size; ++i) {
    made.queue.push_back({std::uniform_int_distribution<int64_t>(0, 12)(random),
                          std::uniform_int_distribution<uint64_t>(0, 2)(random)});
  }
  return made;
}

// The specification, said another way: walk the requests of the first one's shape; take until one does not
// fit.
std::vector<uint32_t> Model(const Case& c) {
  std::vector<uint32_t> same;
  for (uint32_t i = 0; i < c.queue.size(); ++i) {
    if (c.queue[i].signature == c.queue[0].signature) same.push_back(i);
  }
  std::vector<uint32_t> picks{0};
  int64_t rows = c.queue[0].rows;
  for (size_t i = 1; i < same.size() && rows + c.queue[same[i]].rows <= c.max_rows; ++i) {
    picks.push_back(same[i]);
    rows += c.queue[same[i]].rows;
  }
  return picks;
}

TEST(PickBatch, AgreesWithItsModelOnRandomQueues) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const Case c = RandomCase(random);
    std::vector<uint32_t> picks;
    PickBatch(c.queue, c.max_rows, picks);
    ASSERT_EQ(picks, Model(c));
  }
}

TEST(PickBatch, EmptiesAnyQueueWithoutLossWhenRepeated) {
  std::mt19937 random(2);
  for (int i = 0; i < 2'000; ++i) {
    Case c = RandomCase(random);
    size_t served = 0;
    const size_t asked = c.queue.size();
    while (!c.queue.empty()) {
      std::vector<uint32_t> picks;
      PickBatch(c.queue, c.max_rows, picks);
      ASSERT_FALSE(picks.empty());
      int64_t rows = 0;
      for (const uint32_t pick : picks) rows += c.queue[pick].rows;
      ASSERT_TRUE(rows <= c.max_rows || picks.size() == 1);
      for (size_t k = picks.size(); k-- > 0;) c.queue.erase(c.queue.begin() + picks[k]);
      served += picks.size();
    }
    ASSERT_EQ(served, asked);
  }
}

CostCurve Curve(double fixed_us, double per_row_us) {
  CostCurve curve;
  for (int64_t rows = 1; rows <= 256; rows *= 2) {
    curve.Add(rows, Nanos(static_cast<int64_t>((fixed_us + per_row_us * static_cast<double>(rows)) * 1000)));
  }
  return curve;
}

TEST(SplitInto, SharesRowsOutWhenCostIsProportional) {
  EXPECT_EQ(SplitInto(16, {32, 2}, Curve(0, 400)), 2);
  EXPECT_EQ(SplitInto(1, {32, 2}, Curve(0, 400)), 1);
}

TEST(SplitInto, KeepsRowsTogetherWhenARunCostsMoreThanItsRows) {
  EXPECT_EQ(SplitInto(32, {64, 2}, Curve(5, 0.1)), 1);
}

TEST(SplitInto, KeepsRowsTogetherWhenAnotherThreadWouldWinNothing) {
  constexpr Nanos kHandOver{50'000};
  EXPECT_EQ(SplitInto(64, {64, 2, kHandOver}, Curve(0, 1.5)), 1);
  EXPECT_EQ(SplitInto(64, {64, 2, kHandOver}, Curve(0, 1.6)), 2);
}

TEST(SplitInto, NeverPassesTheIdleInstances) {
  std::mt19937 random(3);
  for (int i = 0; i < 5'000; ++i) {
    const int idle = std::uniform_int_distribution<int>(1, 8)(random);
    const auto rows = std::uniform_int_distribution<int64_t>(1, 500)(random);
    const int parts = SplitInto(rows, {16, idle}, Curve(3, 1));
    ASSERT_GE(parts, 1);
    ASSERT_LE(parts, idle);
  }
}

TEST(ExpectedFinish, IsOneRunWhenTheModelIsIdle) {
  const CostCurve curve = Curve(0, 100);
  EXPECT_EQ(ExpectedFinish(4, {0, 1, 1, Nanos(0)}, 8, curve), curve.Estimate(4));
}

TEST(ExpectedFinish, CountsTheRoundsOfFullBatchesAhead) {
  const CostCurve curve = Curve(0, 100);
  const Backlog backlog{31, 0, 2, Nanos(50)};
  // 32 rows are four batches of 8, two at a time: two rounds.
  EXPECT_EQ(ExpectedFinish(1, backlog, 8, curve), Nanos(50) + 2 * curve.Estimate(8));
}

TEST(CostCurve, InterpolatesBetweenWhatItSaw) {
  CostCurve curve;
  EXPECT_TRUE(curve.empty());
  curve.Add(1, Nanos(1000));
  curve.Add(16, Nanos(16000));
  EXPECT_EQ(curve.Estimate(1), Nanos(1000));
  EXPECT_EQ(curve.Estimate(8), Nanos(8000));
  EXPECT_EQ(curve.Estimate(32), Nanos(32000));
}

TEST(CostCurve, MovesLittleWhenRunsLoseTheirCore) {
  CostCurve curve;
  std::mt19937 random(5);
  for (int i = 0; i < 10'000; ++i) {
    curve.Add(4, Nanos(random() % 8 == 0 ? 4'000'000 : 1000));
    if (i > 20) {
      ASSERT_LT(curve.Estimate(4), Nanos(2000));
    }
  }
}

TEST(CostCurve, ForgetsAnOutlierThatCameFirst) {
  CostCurve curve;
  curve.Add(1, Nanos(4'000'000));
  for (int i = 0; i < 20; ++i) curve.Add(1, Nanos(1000));
  EXPECT_LT(curve.Estimate(1), Nanos(2000));
}

TEST(CostCurve, FollowsACostThatRoseForGood) {
  CostCurve curve;
  for (int i = 0; i < 50; ++i) curve.Add(1, Nanos(1000));
  for (int i = 0; i < 80; ++i) curve.Add(1, Nanos(10'000));
  EXPECT_NEAR(static_cast<double>(curve.Estimate(1).count()), 10'000, 500);
}

TEST(CostCurve, FewerRowsNeverCostMore) {
  CostCurve curve;
  curve.Add(1, Nanos(4'000'000));  // seen once, in a bad moment, and never alone again
  for (int i = 0; i < 20; ++i) curve.Add(16, Nanos(8000));
  EXPECT_EQ(curve.Estimate(1), Nanos(8000));
  std::mt19937 random(6);
  for (int i = 0; i < 500; ++i) {
    curve.Add(1 + static_cast<int64_t>(random() % 200), Nanos(random() % 100'000));
    Nanos before{0};
    for (int64_t rows = 1; rows <= 256; ++rows) {
      ASSERT_LE(before, curve.Estimate(rows));
      before = curve.Estimate(rows);
    }
  }
}

TEST(Promise, SettlesWhereItsShareOfAnswersIsInTime) {
  Promise promise;
  std::mt19937 random(4);
  std::uniform_real_distribution<double> actual(0.5, 2.0);  // of what was expected
  int kept = 0;
  for (int i = 0; i < 20'000; ++i) {
    const bool in_time = actual(random) * 1000 <= static_cast<double>(promise.Of(Nanos(1000)).count());
    promise.Learn(in_time ? 1 : 0, in_time ? 0 : 1);
    if (i >= 10'000) kept += in_time ? 1 : 0;
  }
  EXPECT_NEAR(kept / 10'000.0, 0.97, 0.01);
}

}  // namespace
}  // namespace falaj

#include "load/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace falaj::load {
namespace {

using std::chrono::nanoseconds;

// The value that `q` of the sorted ones do not exceed, in microseconds.
double Exact(const std::vector<int64_t>& sorted, double q) {
  const auto rank = static_cast<size_t>(std::max(1.0, std::ceil(q * static_cast<double>(sorted.size()))));
  return static_cast<double>(sorted[rank - 1]) / 1e3;
}

TEST(LatencyHistogram, QuantilesAreClose_WhenLatenciesSpanSixDecades) {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> draw(11, 2.5);
  std::vector<int64_t> values;
  LatencyHistogram histogram;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(static_cast<int64_t>(draw(random)));
    histogram.Add(nanoseconds(values.back()));
  }
  std::sort(values.begin(), values.end());
  for (const double q : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    EXPECT_NEAR(histogram.QuantileUs(q), Exact(values, q), 0.002 * Exact(values, q) + 1e-9) << q;
  }
  EXPECT_EQ(histogram.MaxUs(), Exact(values, 1));
}

TEST(LatencyHistogram, IsThatOfTheWhole_WhenPartsAreMerged) {
  LatencyHistogram parts[2], whole;
  for (int i = 0; i < 1000; ++i) {
    parts[i % 2].Add(nanoseconds(i * i));
    whole.Add(nanoseconds(i * i));
  }
  parts[0].Merge(parts[1]);
  parts[0].Merge(LatencyHistogram());
  EXPECT_EQ(parts[0].count(), 1000U);
  EXPECT_EQ(parts[0].MeanUs(), whole.MeanUs());
  EXPECT_EQ(parts[0].MaxUs(), whole.MaxUs());
  for (const double q : {0.1, 0.5, 0.999}) EXPECT_EQ(parts[0].QuantileUs(q), whole.QuantileUs(q));
}

TEST(LatencyHistogram, HoldsNothing_WhenItIsEmptyOrCleared) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.QuantileUs(0.5), 0);
  EXPECT_EQ(histogram.MeanUs(), 0);
  histogram.Add(nanoseconds(5000));
  histogram.Clear();
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.MaxUs(), 0);
  EXPECT_EQ(histogram.QuantileUs(0.5), 0);
}

TEST(LatencyHistogram, ClampsLatencies_WhenTheyAreNegativeOrEndless) {
  LatencyHistogram histogram;
  histogram.Add(nanoseconds(-1));
  EXPECT_EQ(histogram.QuantileUs(1), 0);
  histogram.Add(nanoseconds::max());
  EXPECT_EQ(histogram.count(), 2U);
  EXPECT_GT(histogram.QuantileUs(1), 1e9);  // 18 minutes are as much as it tells apart
}

}  // namespace
}  // namespace falaj::load

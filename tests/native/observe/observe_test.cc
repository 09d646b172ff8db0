#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "observe/model_stats.h"

namespace falaj {
namespace {

TEST(Histogram, EveryValueLiesInItsBinAndNoneIsWiderThanAQuarter) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t value = random() >> (24 + random() % 40);  // up to 2^40, small ones too
    const size_t bin = Histogram::Bin(value);
    ASSERT_LT(value, Histogram::UpperBound(bin));
    if (bin > 0) {
      ASSERT_GE(value, Histogram::UpperBound(bin - 1));
    }
    ASSERT_LE(Histogram::UpperBound(bin) - 1, value + value / 4);
  }
}

TEST(Histogram, BoundsGrowFromBinToBin) {
  for (size_t bin = 1; bin < Histogram::kBins; ++bin) {
    ASSERT_LT(Histogram::UpperBound(bin - 1), Histogram::UpperBound(bin));
    ASSERT_EQ(Histogram::Bin(Histogram::UpperBound(bin - 1)), bin);
  }
}

TEST(Histogram, WhatIsTooLargeGoesToTheLastBin) {
  EXPECT_EQ(Histogram::Bin(UINT64_MAX), Histogram::kBins - 1);
  Histogram histogram;
  histogram.Add(UINT64_MAX, 3);
  EXPECT_EQ(histogram.Get(Histogram::kBins - 1), 3u);
}

TEST(Histogram, SumsTheValuesThemselves) {
  Histogram histogram;
  EXPECT_EQ(histogram.Sum(), 0u);
  histogram.Add(1001);
  histogram.Add(7, 3);
  EXPECT_EQ(histogram.Sum(), 1022u);
}

// Every counter of a part. Whoever adds one adds it to both lists.
static_assert(sizeof(InstanceCounters) == 19 * sizeof(Counter) + 4 * sizeof(Histogram));
std::vector<Counter*> AllOf(InstanceCounters& part) {
  return {&part.requests_ok,   &part.requests_failed,  &part.rows,
          &part.batches,       &part.on_submitter,     &part.queue_ns,
          &part.assemble_ns,   &part.run_ns,           &part.deliver_ns,
          &part.elements,      &part.padding_elements, &part.retried_alone,
          &part.ok_request_ns, &part.ok_queue_ns,      &part.ok_assemble_ns,
          &part.ok_run_ns,     &part.ok_deliver_ns,    &part.failed_request_ns,
          &part.stale_features};
}
std::vector<uint64_t> AllOf(const ModelStats& stats) {
  return {stats.requests_ok,   stats.requests_failed,  stats.rows,
          stats.batches,       stats.on_submitter,     stats.queue_ns,
          stats.assemble_ns,   stats.run_ns,           stats.deliver_ns,
          stats.elements,      stats.padding_elements, stats.retried_alone,
          stats.ok_request_ns, stats.ok_queue_ns,      stats.ok_assemble_ns,
          stats.ok_run_ns,     stats.ok_deliver_ns,    stats.failed_request_ns,
          stats.stale_features};
}

TEST(ModelStats, MergeAddsEachCounterToItsOwnSum) {
  InstanceCounters first;
  InstanceCounters second;
  for (uint64_t i = 0; Counter * counter : AllOf(first)) counter->Add(++i);
  for (uint64_t i = 0; Counter * counter : AllOf(second)) counter->Add(100 * ++i);
  first.request.Add(4);
  second.request.Add(4);
  first.queue.Add(5);
  first.run.Add(6, 2);
  second.run.Add(6);
  second.batch_rows.Add(7, 4);
  ModelStats stats;
  stats.Merge(first);
  stats.Merge(second);
  for (uint64_t i = 0; const uint64_t sum : AllOf(stats)) {
    ++i;
    EXPECT_EQ(sum, 101 * i);
  }
  EXPECT_EQ(stats.request[Histogram::Bin(4)], 2u);
  EXPECT_EQ(stats.queue[Histogram::Bin(5)], 1u);
  EXPECT_EQ(stats.run[Histogram::Bin(6)], 3u);
  EXPECT_EQ(stats.batch_rows[Histogram::Bin(7)], 4u);
}

TEST(ModelStats, MergedWhileOthersCountNeverGoesBackAndEndsExact) {
  constexpr uint64_t kEach = 200'000;
  std::vector<InstanceCounters> parts(3);
  const auto sum = [&parts] {
    ModelStats stats;
    for (const InstanceCounters& part : parts) stats.Merge(part);
    return stats;
  };
  {
    std::vector<std::jthread> owners;
    for (InstanceCounters& part : parts) {
      owners.emplace_back([&part] {
        for (uint64_t i = 0; i < kEach; ++i) {
          part.rows.Add(2);
          part.run.Add(i % 50);
        }
      });
    }
    for (uint64_t last = 0; last < 2 * kEach;) {
      const uint64_t now = sum().rows;
      ASSERT_GE(now, last);
      ASSERT_LE(now, 6 * kEach);
      last = now;
    }
  }
  uint64_t runs = 0;
  for (const uint64_t count : sum().run) runs += count;
  EXPECT_EQ(sum().rows, 6 * kEach);
  EXPECT_EQ(runs, 3 * kEach);
}

}  // namespace
}  // namespace falaj

#include "observe/batch_sizes.h"

#include <gtest/gtest.h>

namespace falaj {
namespace {

TEST(BatchSizes, CountEachSizeByItselfUpToTheBoundAndTheLargerTogether) {
  BatchSizes sizes(4);
  sizes.AddRun(4, 1, 10);
  sizes.AddRun(4, 2, 20);
  sizes.AddDelivery(4, 5);
  sizes.AddRun(5, 4, 40);
  sizes.AddRun(1000, 8, 80);
  sizes.AddDelivery(1000, 7);
  std::vector<BatchSizeStats> sums;
  sizes.AddTo(sums);
  sizes.AddTo(sums);  // of a second instance that did the same
  ASSERT_EQ(sums.size(), 5u);
  EXPECT_EQ(sums[4].rows, 16u);
  EXPECT_EQ(sums[4].batches, 4u);
  EXPECT_EQ(sums[4].assemble_ns, 6u);
  EXPECT_EQ(sums[4].run_ns, 60u);
  EXPECT_EQ(sums[4].deliver_ns, 10u);
  EXPECT_EQ(sums[0].rows, 2010u);
  EXPECT_EQ(sums[0].batches, 4u);
  EXPECT_EQ(sums[0].deliver_ns, 14u);
  EXPECT_EQ(sums[1].batches, 0u);
}

TEST(BatchSizes, KeepTheirMemoryBoundedWhateverTheModelAllows) {
  std::vector<BatchSizeStats> sums;
  BatchSizes(int64_t{1} << 40).AddTo(sums);
  EXPECT_EQ(sums.size(), static_cast<size_t>(BatchSizes::kMostSizes) + 1);
  sums.clear();
  BatchSizes(0).AddTo(sums);  // a model without a batch dimension: sizes are 1
  EXPECT_EQ(sums.size(), 2u);
}

}  // namespace
}  // namespace falaj

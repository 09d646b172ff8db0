#include "batch/slab.h"

#include <gtest/gtest.h>

#include <cstring>

namespace falaj {
namespace {

TensorSpec Spec(std::vector<int64_t> shape, DataType type = DataType::kFp32) {
  return {std::string("t"), type, std::move(shape), {}};
}

SlabLayout Layout(int64_t rows) {
  const TensorSpec inputs[] = {Spec({-1, 3}), Spec({-1, 5}, DataType::kInt8)};
  const TensorSpec outputs[] = {Spec({-1, 2})};
  return SlabLayout::Make(inputs, outputs, rows).value();
}

TEST(SlabLayout, PutsEveryColumnOnItsOwnCacheLines) {
  const SlabLayout layout = Layout(10);
  ASSERT_TRUE(layout.all_inputs_fixed);
  EXPECT_EQ(layout.inputs[0].offset, 0u);
  EXPECT_EQ(layout.inputs[1].offset, 128u);   // after 120 bytes
  EXPECT_EQ(layout.outputs[0].offset, 192u);  // after 50 more
  EXPECT_EQ(layout.bytes, 192u + 128u);
}

TEST(SlabLayout, HoldsNoStringsAndNothingOfVariableShape) {
  const TensorSpec inputs[] = {Spec({-1, 3}), Spec({-1, -1}), Spec({-1, 2}, DataType::kBytes)};
  const SlabLayout layout = SlabLayout::Make(inputs, {}, 4).value();
  EXPECT_FALSE(layout.all_inputs_fixed);
  EXPECT_GT(layout.inputs[0].row_bytes, 0u);
  EXPECT_EQ(layout.inputs[1].row_bytes, 0u);
  EXPECT_EQ(layout.inputs[2].row_bytes, 0u);
}

TEST(SlabLayout, IsEmptyForAModelThatCannotBatch) {
  const TensorSpec inputs[] = {Spec({3, 3})};
  const SlabLayout layout = SlabLayout::Make(inputs, {}, 0).value();
  EXPECT_FALSE(layout.all_inputs_fixed);
  EXPECT_EQ(layout.bytes, 0u);
}

TEST(SlabLayout, RefusesSizesThatNoMemoryHas) {
  const TensorSpec wide[] = {Spec({-1, INT64_MAX / 2, 8})};
  EXPECT_EQ(SlabLayout::Make(wide, {}, 1).status().code(), Code::kInvalidInput);
  const TensorSpec large[] = {Spec({-1, int64_t{1} << 40})};
  EXPECT_EQ(SlabLayout::Make(large, {}, int64_t{1} << 40).status().code(), Code::kInvalidInput);
  // Each of these could be addressed; their sum is 2^64 bytes, which is 0.
  const std::vector<TensorSpec> many(8, Spec({-1, int64_t{1} << 59}));
  EXPECT_EQ(SlabLayout::Make(many, {}, 1).status().code(), Code::kInvalidInput);
}

TEST(Slab, RowsOfDifferentReservationsAreDisjoint) {
  SlabPool pool(Layout(10), {1, 1, 0});
  const RefPtr<Slab> slab = pool.Get(SlabPool::Need::kMay).value();
  for (size_t column = 0; column < 2; ++column) {
    for (int64_t row = 0; row < 10; ++row) {
      const TensorView view = slab->Input(column, row, 1);
      std::memset(view.data, static_cast<int>(10 * column + static_cast<size_t>(row)), view.bytes());
    }
  }
  std::memset(slab->Output(0, 0, 10).data, 0xFF, slab->Output(0, 0, 10).bytes());
  for (size_t column = 0; column < 2; ++column) {
    for (int64_t row = 0; row < 10; ++row) {
      const TensorView view = slab->Input(column, row, 1);
      const auto* bytes = static_cast<const uint8_t*>(view.data);
      for (size_t i = 0; i < view.bytes(); ++i) ASSERT_EQ(bytes[i], 10 * column + static_cast<size_t>(row));
    }
  }
  EXPECT_EQ(slab->Input(0, 2, 3).shape, (Shape{3, 3}));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(slab->Input(1, 0, 1).data) % 64, 0u);
}

TEST(SlabPool, RefusesRequestsAtItsBoundButNotABatchThatIsAboutToRun) {
  SlabPool pool(Layout(4), {2, 1, 0});
  std::vector<RefPtr<Slab>> out;
  out.push_back(pool.Get(SlabPool::Need::kMay).value());
  out.push_back(pool.Get(SlabPool::Need::kMay).value());
  EXPECT_EQ(pool.Get(SlabPool::Need::kMay).status().code(), Code::kUnavailable);
  out.push_back(pool.Get(SlabPool::Need::kMust).value());
  EXPECT_EQ(pool.allocated_bytes(), 3 * pool.layout().bytes);
  out.clear();
  EXPECT_EQ(pool.allocated_bytes(), pool.layout().bytes);  // one is kept
  EXPECT_TRUE(pool.Get(SlabPool::Need::kMay).ok());
}

TEST(SlabPool, CountsTheMemoryOfSlabsThatAreUsedAgain) {
  SlabPool pool(Layout(4), {3, 1, 0});
  for (int round = 0; round < 3; ++round) {
    std::vector<RefPtr<Slab>> out;
    for (int i = 0; i < 3; ++i) out.push_back(pool.Get(SlabPool::Need::kMay).value());
    EXPECT_EQ(pool.allocated_bytes(), 3 * pool.layout().bytes) << round;
    for (const RefPtr<Slab>& slab : out) std::memset(slab->Input(0, 0, 4).data, 1, pool.layout().bytes);
  }
  EXPECT_EQ(pool.allocated_bytes(), pool.layout().bytes);
}

TEST(SlabPool, KeepsLittleOfWhatLargeBatchesWereGatheredInto) {
  constexpr size_t kGathered = size_t{1} << 20;
  SlabPool pool(Layout(0), {64, 2, 4 * kGathered});
  std::vector<RefPtr<Slab>> out;
  for (int i = 0; i < 20; ++i) {
    out.push_back(pool.Get(SlabPool::Need::kMay).value());
    out.back()->gathered.resize(1);
    ASSERT_TRUE(out.back()->gathered[0].Reserve(kGathered).ok());
  }
  const size_t one = out.back()->gathered[0].capacity();
  out.clear();
  EXPECT_LE(pool.allocated_bytes(), 4 * one);
  EXPECT_GE(pool.allocated_bytes(), 2 * one);
}

TEST(SlabPool, KeepsManySmallSlabs) {
  const size_t bytes = Layout(4).bytes;
  SlabPool pool(Layout(4), {64, 1, 10 * bytes});
  std::vector<RefPtr<Slab>> out;
  for (int i = 0; i < 20; ++i) out.push_back(pool.Get(SlabPool::Need::kMay).value());
  out.clear();
  EXPECT_EQ(pool.allocated_bytes(), 10 * bytes);
}

TEST(SlabPool, HandsOutAsNewWhatCameBack) {
  SlabPool pool(Layout(4), {1, 1, 0});
  {
    const RefPtr<Slab> slab = pool.Get(SlabPool::Need::kMay).value();
    slab->reserved_rows = 4;
    slab->owners.push_back(std::make_shared<int>(1));
  }
  const RefPtr<Slab> again = pool.Get(SlabPool::Need::kMay).value();
  EXPECT_EQ(again->reserved_rows, 0);
  EXPECT_TRUE(again->owners.empty());
}

}  // namespace
}  // namespace falaj

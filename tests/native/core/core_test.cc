#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "batch/slab.h"
#include "core/cpus.h"
#include "core/data_type.h"
#include "core/status.h"
#include "core/tensor.h"
#include "observe/counter.h"

namespace falaj {
namespace {

TEST(Status, SharesItsTextWhenCopied) {
  const Status status = InvalidInput("wrong");
  const Status copy = status;
  EXPECT_EQ(&copy.message(), &status.message());
  EXPECT_EQ(copy.code(), Code::kInvalidInput);
  EXPECT_TRUE(Status::Ok().ok());
  EXPECT_EQ(Status::Ok().message(), "");
}

TEST(DataType, RoundTripsThroughItsName) {
  for (int i = 0; i <= static_cast<int>(DataType::kBytes); ++i) {
    const auto type = static_cast<DataType>(i);
    EXPECT_EQ(ParseDataType(DataTypeName(type)), type);
    EXPECT_GT(ElementSize(type), 0u);
  }
  EXPECT_FALSE(ParseDataType("FP8").has_value());
}

TEST(Shape, HasNoElementCountWhenItOverflowsOrIsNegative) {
  const int64_t large = std::numeric_limits<int64_t>::max() / 2;
  EXPECT_FALSE((Shape{large, 3}).Elements().has_value());
  EXPECT_FALSE((Shape{2, -1}).Elements().has_value());
  EXPECT_EQ((Shape{2, 3}).Elements(), 6);
  EXPECT_EQ(Shape().Elements(), 1);
  EXPECT_EQ((Shape{2, 0, 3}).Elements(), 0);
}

TEST(Buffer, IsAlignedAndGrows) {
  Buffer buffer;
  ASSERT_TRUE(buffer.Reserve(10).ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % Buffer::kAlignment, 0u);
  ASSERT_TRUE(buffer.Reserve(1000).ok());
  EXPECT_GE(buffer.capacity(), 1000u);
}

class Cgroup : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() /
            ("falaj-cgroup-" + std::to_string(std::hash<std::string>{}(
                                   testing::UnitTest::GetInstance()->current_test_info()->name())));
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  int Cores(const std::string& self) const { return CgroupQuotaCores(root_.string(), self); }
  std::filesystem::path root_;
};

TEST_F(Cgroup, TakesTheTightestQuotaUpwardsInVersionTwo) {
  Write("a/cpu.max", "150000 100000\n");
  Write("a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(Cores("0::/a/b\n"), 2);
}

TEST_F(Cgroup, ReadsTheCpuControllerInVersionOne) {
  Write("cpu/x/cpu.cfs_quota_us", "300000\n");
  Write("cpu/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Cores("5:memory:/y\n4:cpu,cpuacct:/x\n"), 3);
  Write("cpu/x/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Cores("4:cpu,cpuacct:/x\n"), 0);
}

TEST_F(Cgroup, HasNoQuotaWhenTheTextIsNone) {
  EXPECT_EQ(Cores(""), 0);
  EXPECT_EQ(Cores("nonsense\n::\n"), 0);
  EXPECT_GE(UsableCores(), 1);
}

TEST(Histogram, PutsEveryValueBelowItsBinsUpperBound) {
  for (uint64_t value = 0; value < 100'000; value += 1 + value / 7) {
    const size_t bin = Histogram::Bin(value);
    EXPECT_LT(value, Histogram::UpperBound(bin));
    if (bin > 0) {
      EXPECT_GE(value, Histogram::UpperBound(bin - 1));
    }
  }
}

}  // namespace
}  // namespace falaj

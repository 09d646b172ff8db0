#include "join/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace falaj::join {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kMax = std::numeric_limits<double>::max();
constexpr double kTiny = std::numeric_limits<double>::denorm_min();

ExactSum Of(const std::vector<double>& terms) {
  ExactSum sum;
  for (const double term : terms) sum.Add(term);
  return sum;
}

double StdOf(const std::vector<double>& terms) {
  ExactSum squares;
  for (const double term : terms) squares.AddSquare(term);
  return SampleStd(terms.size(), Of(terms), squares);
}

std::string BytesOf(const ExactSum& sum) {
  ByteWriter to;
  sum.Write(to);
  return to.Take();
}

TEST(ExactSumTest, SumIsRoundedOnceWhenTermsDifferInSize) {
  EXPECT_EQ(Of({1e100, 1.0, -1e100}).Sum(), 1.0);
  EXPECT_EQ(Of(std::vector<double>(10, 0.1)).Sum(), 1.0);
  EXPECT_EQ(Of({1.0, 0x1p-53}).Sum(), 1.0);                   // a tie goes to even
  EXPECT_EQ(Of({1.0, 0x1p-53, kTiny}).Sum(), 1.0 + 0x1p-52);  // and just above it up
  EXPECT_EQ(Of({-1.0, -0x1p-53, -kTiny}).Sum(), -1.0 - 0x1p-52);
  EXPECT_EQ(Of({kTiny, kTiny}).Sum(), 2 * kTiny);
  EXPECT_EQ(Of({}).Sum(), 0.0);
  EXPECT_FALSE(std::signbit(Of({-0.0, -0.0}).Sum()));
}

TEST(ExactSumTest, SumIsFiniteWhenOnlyAPartOfItOverflows) {
  EXPECT_EQ(Of({kMax, kMax, -kMax}).Sum(), kMax);
  EXPECT_EQ(Of({kMax, kMax}).Sum(), kInf);
  EXPECT_EQ(Of({kMax, kMax}).Mean(2), kMax);
  EXPECT_EQ(Of({-kMax, -kMax, -kMax}).Mean(3), -kMax);
}

TEST(ExactSumTest, SpecialValuesPrevailWhenAdded) {
  EXPECT_EQ(Of({1.0, kInf}).Sum(), kInf);
  EXPECT_EQ(Of({-kInf, kMax}).Mean(2), -kInf);
  EXPECT_TRUE(std::isnan(Of({kInf, -kInf}).Sum()));
  EXPECT_TRUE(std::isnan(Of({1.0, std::nan("")}).Sum()));
  EXPECT_TRUE(std::isnan(StdOf({1.0, kInf})));
}

TEST(ExactSumTest, MeanIsRoundedOnceWhenDivided) {
  EXPECT_EQ(Of({1.0}).Mean(3), 1.0 / 3.0);
  EXPECT_EQ(Of({kTiny, kTiny, kTiny}).Mean(2), 2 * kTiny);  // 1.5 goes to even
  EXPECT_EQ(Of({kTiny}).Mean(2), 0.0);
}

TEST(ExactSumTest, StdIsExactWhenItsRootIs) {
  EXPECT_EQ(StdOf({1.0, 2.0, 3.0}), 1.0);
  EXPECT_EQ(StdOf({5.0, 5.0}), 0.0);
  EXPECT_EQ(StdOf({1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16}), std::sqrt(30.0));
  EXPECT_EQ(StdOf({0.0, 1.0}), std::sqrt(0.5));
  EXPECT_EQ(StdOf({-kMax, kMax}), kInf);
  EXPECT_EQ(StdOf({0.0, 0x1p-1000}), 0x1p-1000 * std::sqrt(0.5));
}

TEST(ExactSumTest, IntegersAreExactWhenBeyondDoubles) {
  constexpr int64_t most = std::numeric_limits<int64_t>::max(), least = std::numeric_limits<int64_t>::min();
  ExactSum sum;
  for (const int64_t term : {most, most, least}) sum.Add(term);
  EXPECT_EQ(sum.Integer(), most - 1);
  sum.Add(int64_t{1});
  EXPECT_EQ(sum.Integer(), most);
  sum.Add(int64_t{1});
  EXPECT_EQ(sum.Integer(), std::nullopt);
  for (const int64_t term : {least, least}) sum.Add(term);
  EXPECT_EQ(sum.Integer(), least);
  sum.Add(int64_t{-1});
  EXPECT_EQ(sum.Integer(), std::nullopt);
  EXPECT_EQ(Of({0.5}).Integer(), std::nullopt);
}

TEST(ExactSumTest, BytesAreTheSameWhenOrderAndPartsDiffer) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<double> terms;
    for (uint64_t i = random() % 40; i > 0; --i) {
      const double term = std::bit_cast<double>(random());  // of any size
      terms.push_back(std::isfinite(term) ? term : static_cast<double>(static_cast<int64_t>(random())));
      if (random() % 3 == 0) terms.push_back(-terms[random() % terms.size()]);
    }
    const std::string expected = BytesOf(Of(terms));
    std::shuffle(terms.begin(), terms.end(), random);
    ExactSum parts[3];
    for (const double term : terms) parts[random() % 3].Add(term);
    parts[2].Merge(parts[0]);
    parts[1].Merge(parts[2]);
    ASSERT_EQ(BytesOf(parts[1]), expected);
    ByteReader from(expected);
    Result<ExactSum> again = ExactSum::Read(from);
    ASSERT_TRUE(again.ok()) << again.status().message();
    ASSERT_EQ(BytesOf(*again), expected);
    ASSERT_EQ(std::bit_cast<uint64_t>(again->Sum()), std::bit_cast<uint64_t>(parts[1].Sum()));
  }
}

TEST(ExactSumTest, ReadFailsWhenBytesAreCutOffOrPadded) {
  const std::string bytes = BytesOf(Of({1.5, 1e300}));
  for (size_t size = 0; size < bytes.size(); ++size) {
    ByteReader from(std::string_view(bytes).substr(0, size));
    EXPECT_FALSE(ExactSum::Read(from).ok()) << size;
  }
  std::string zero = BytesOf(Of({}));
  zero.back() = 1;
  ByteReader from(zero += std::string(8, '\0'));
  EXPECT_FALSE(ExactSum::Read(from).ok());
}

}  // namespace
}  // namespace falaj::join

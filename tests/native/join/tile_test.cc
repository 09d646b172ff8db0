#include "join/tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace falaj::join {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Term {
  Value value;
  Moment at;
};

Value Of(Function function, Kind kind, const std::vector<Term>& terms) {
  Tile tile(function, kind);
  for (const Term& term : terms) tile.Add(term.value, term.at);
  return tile.Get().value();
}

std::string BytesOf(const Tile& tile) {
  ByteWriter to;
  tile.Write(to);
  return to.Take();
}

TEST(TileTest, ValueIsNullOrZeroWhenEmpty) {
  const std::vector<Term> nulls = {{Value(), {}}};
  for (const Function function : {Function::kSum, Function::kMean, Function::kMin, Function::kLast})
    EXPECT_TRUE(IsNull(Of(function, Kind::kFloat, nulls)));
  EXPECT_TRUE(IsNull(Of(Function::kStd, Kind::kFloat, {{1.0, {}}})));
  EXPECT_EQ(Of(Function::kCount, Kind::kFloat, nulls), Value(int64_t{0}));
  EXPECT_EQ(Of(Function::kDistinct, Kind::kText, nulls), Value(int64_t{0}));
}

TEST(TileTest, ExtremesOrderZerosAndKeepNanWhenAnyOrder) {
  for (const auto& terms : {std::vector<Term>{{0.0, {}}, {-0.0, {}}}, {{-0.0, {}}, {0.0, {}}}}) {
    EXPECT_TRUE(std::signbit(std::get<double>(Of(Function::kMin, Kind::kFloat, terms))));
    EXPECT_FALSE(std::signbit(std::get<double>(Of(Function::kMax, Kind::kFloat, terms))));
  }
  for (const auto& terms : {std::vector<Term>{{1.0, {}}, {-kNan, {}}}, {{-kNan, {}}, {1.0, {}}}}) {
    EXPECT_TRUE(std::isnan(std::get<double>(Of(Function::kMin, Kind::kFloat, terms))));
    EXPECT_TRUE(std::isnan(std::get<double>(Of(Function::kMax, Kind::kFloat, terms))));
  }
  EXPECT_EQ(Of(Function::kMax, Kind::kInteger, {{int64_t{-7}, {}}, {int64_t{3}, {}}}), Value(int64_t{3}));
}

TEST(TileTest, DistinctCountsZerosAndNansOnceWhenTheirBitsDiffer) {
  const std::vector<Term> terms = {{0.0, {}}, {-0.0, {}}, {kNan, {}}, {-kNan, {}}, {1.0, {}}};
  EXPECT_EQ(Of(Function::kDistinct, Kind::kFloat, terms), Value(int64_t{3}));
}

TEST(TileTest, LastIsTheNewestByEventThenKnownThenSequenceWhenTied) {
  const std::vector<Term> terms = {{1.0, {5, 1, 9}}, {2.0, {5, 2, 0}}, {3.0, {5, 2, 1}}, {4.0, {4, 9, 9}}};
  EXPECT_EQ(Of(Function::kLast, Kind::kFloat, terms), Value(3.0));
}

TEST(TileTest, SumFailsWhenIntegersLeave64Bits) {
  Tile tile(Function::kSum, Kind::kInteger);
  for (int i = 0; i < 2; ++i) tile.Add(std::numeric_limits<int64_t>::max(), {});
  EXPECT_EQ(tile.Get().status().code(), Code::kInvalidInput);
  tile.Add(std::numeric_limits<int64_t>::min(), {});
  EXPECT_EQ(tile.Get().value(), Value(std::numeric_limits<int64_t>::max() - 1));
}

TEST(TileTest, BytesAreTheSameWhenOrderAndPartsDiffer) {
  std::mt19937_64 random(2);
  const double values[] = {0.0, -0.0, 1.5, -1e300, 1e-300, kNan, HUGE_VAL, 0.1};
  for (int round = 0; round < 400; ++round) {
    const auto function = static_cast<Function>(random() % 8);
    std::vector<Term> terms;
    for (uint64_t i = random() % 20; i > 0; --i) {
      const Moment at{static_cast<int64_t>(random() % 3), static_cast<int64_t>(random() % 2), 0};
      terms.push_back({random() % 5 == 0 ? Value() : Value(values[random() % 8]), at});
    }
    Tile whole(function, Kind::kFloat);
    for (const Term& term : terms) whole.Add(term.value, term.at);
    std::shuffle(terms.begin(), terms.end(), random);
    Tile parts[2] = {Tile(function, Kind::kFloat), Tile(function, Kind::kFloat)};
    for (const Term& term : terms) parts[random() % 2].Add(term.value, term.at);
    const std::string bytes = BytesOf(parts[0]);
    ByteReader from(bytes);
    Result<Tile> again = Tile::Read(function, Kind::kFloat, from);
    ASSERT_TRUE(again.ok()) << again.status().message();
    ASSERT_EQ(from.left(), 0u);
    parts[1].Merge(*again);
    ASSERT_EQ(BytesOf(parts[1]), BytesOf(whole)) << static_cast<int>(function);
    for (size_t size = 0; size < bytes.size(); ++size) {
      ByteReader cut(std::string_view(bytes).substr(0, size));
      ASSERT_FALSE(Tile::Read(function, Kind::kFloat, cut).ok());
    }
  }
}

}  // namespace
}  // namespace falaj::join

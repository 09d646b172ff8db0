#include "join/point_in_time.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <tuple>

#include "join/feature_columns.h"

namespace falaj {
namespace {

constexpr auto kMissing = static_cast<uint8_t>(Presence::kMissing);
constexpr auto kExpired = static_cast<uint8_t>(Presence::kExpired);
constexpr auto kPresent = static_cast<uint8_t>(Presence::kPresent);

// A join's arrays, owned.
struct Arrays {
  std::vector<int32_t> entity, asked;
  std::vector<int64_t> event, known, sequence, place, time;
  std::vector<uint8_t> deleted;
  JoinRules rules;

  std::vector<int64_t> row;
  std::vector<uint8_t> status, late;
  std::vector<uint32_t> tied;

  void Add(int32_t of, int64_t at, int64_t known_at) {
    entity.push_back(of);
    event.push_back(at);
    known.push_back(known_at);
  }

  void Ask(int32_t of, int64_t at) {
    asked.push_back(of);
    time.push_back(at);
  }

  Status Join() {
    row.assign(asked.size(), -7);
    status.assign(asked.size(), 7);
    late.assign(asked.size(), 7);
    auto joined = JoinPointInTime({entity, event, known, sequence, place, deleted}, {asked, time}, rules,
                                  {row, status, late});
    if (!joined.ok()) return joined.status();
    tied = *joined;
    std::sort(tied.begin(), tied.end());
    return Status::Ok();
  }
};

// By the rules and nothing else; (row, status, late).
std::tuple<int64_t, uint8_t, uint8_t> Expected(const Arrays& a, size_t question) {
  const int64_t now = a.time[question];
  using Order = std::tuple<int64_t, int64_t, int64_t, int64_t, size_t>;
  std::optional<Order> newest;
  std::optional<std::pair<int64_t, int64_t>> truest;
  for (size_t i = 0; i < a.entity.size(); ++i) {
    if (a.asked[question] < 0 || a.entity[i] != a.asked[question] || a.event[i] > now) continue;
    truest = std::max(truest, std::optional(std::pair(a.event[i], a.known[i])));
    if (a.known[i] + a.rules.delay_us > now) continue;
    const Order order{a.event[i], a.known[i], a.sequence.empty() ? 0 : a.sequence[i],
                      a.place.empty() ? 0 : a.place[i], i};
    newest = std::max(newest, std::optional(order));
  }
  const uint8_t late = truest && truest->second + a.rules.delay_us > now;
  if (!newest) return {-1, kMissing, late};
  const size_t i = std::get<4>(*newest);
  if (!a.deleted.empty() && a.deleted[i] != 0) return {-1, kMissing, late};
  if (a.rules.ttl_us && now - a.event[i] > *a.rules.ttl_us) return {-1, kExpired, late};
  return {static_cast<int64_t>(i), kPresent, late};
}

// Few times and entities: most of it is ties. Some arrays are left out.
Arrays Random(std::mt19937& random) {
  const auto below = [&random](int bound) {
    return static_cast<int>(random() % static_cast<unsigned>(bound));
  };
  Arrays a;
  a.rules.entities = 4;
  a.rules.delay_us = below(4);
  if (below(2) == 0) a.rules.ttl_us = below(8);
  const int rows = below(60), spine = below(40), times = 2 + below(30);
  for (int i = 0; i < rows; ++i) a.Add(below(5) - 1, below(times), below(times));
  for (int i = 0; i < spine; ++i) a.Ask(below(5) - 1, below(times + 6));
  for (auto* column : {&a.sequence, &a.place}) {
    if (below(2) == 0) continue;
    for (int i = 0; i < rows; ++i) column->push_back(below(3));
  }
  if (below(2) == 0) {
    for (int i = 0; i < rows; ++i) a.deleted.push_back(below(3) == 0);
  }
  return a;
}

TEST(JoinPointInTimeTest, AnswersAsTheRulesWhateverTheThreads) {
  std::mt19937 random(7);
  for (int turn = 0; turn < 1000; ++turn) {
    Arrays a = Random(random);
    std::vector<uint32_t> tied;
    for (const unsigned threads : {1U, 2U, 3U, 9U}) {
      a.rules.threads = threads;
      ASSERT_TRUE(a.Join().ok());
      for (size_t i = 0; i < a.asked.size(); ++i) {
        ASSERT_EQ(std::tuple(a.row[i], a.status[i], a.late[i]), Expected(a, i)) << "turn " << turn;
      }
      if (threads == 1) tied = a.tied;
      ASSERT_EQ(a.tied, tied);
    }
  }
}

TEST(JoinPointInTimeTest, TellsTheRowsThatNothingOrders) {
  Arrays a;
  a.rules.entities = 2;
  a.rules.threads = 2;
  for (const int64_t known : {5, 6, 6, 6}) a.Add(0, 5, known);
  a.Add(1, 5, 5);
  a.Add(1, 5, 5);  // of an entity that is not asked about
  a.Ask(0, 10);
  a.sequence = {0, 0, 1, 1, 0, 0};
  ASSERT_TRUE(a.Join().ok());
  EXPECT_THAT(a.tied, testing::ElementsAre(2, 3));
  EXPECT_EQ(a.row[0], 3);
  a.place = {0, 0, 9, 8, 0, 0};
  ASSERT_TRUE(a.Join().ok());
  EXPECT_THAT(a.tied, testing::IsEmpty());
  EXPECT_EQ(a.row[0], 2);
}

// Quadratic, it would take hours.
TEST(JoinPointInTimeTest, IsFastWhenOneEntityHasAllRows) {
  constexpr int64_t kRows = 300'000;
  Arrays a;
  a.rules.entities = 1;
  a.rules.threads = 2;
  for (int64_t i = 0; i < kRows; ++i) {
    a.Add(0, (i * 7919) % kRows, (i * 7919) % kRows);
    a.Ask(0, i);
  }
  ASSERT_TRUE(a.Join().ok());
  for (size_t i = 0; i < a.row.size(); ++i) {
    ASSERT_EQ(a.event[static_cast<size_t>(a.row[i])], static_cast<int64_t>(i));
  }
}

TEST(JoinPointInTimeTest, KeepsToTheRulesAtTheEndsOfTime) {
  constexpr int64_t kFirst = std::numeric_limits<int64_t>::min(), kLast = std::numeric_limits<int64_t>::max();
  Arrays a;
  a.rules.entities = 1;
  a.rules.ttl_us = kLast;
  a.Add(0, kFirst, kFirst);
  a.Ask(0, kFirst);
  a.Ask(0, kLast);
  ASSERT_TRUE(a.Join().ok());
  EXPECT_THAT(a.status, testing::ElementsAre(kPresent, kExpired));
}

TEST(JoinPointInTimeTest, RefusesWhatCannotBeAnswered) {
  Arrays a;
  a.rules.entities = 1;
  a.Add(0, 1, std::numeric_limits<int64_t>::max() - 1);
  a.Ask(0, 1);
  EXPECT_TRUE(a.Join().ok());
  a.rules.delay_us = 2;
  EXPECT_THAT(a.Join().message(), testing::HasSubstr("largest time: 9223372036854775806 + 2"));
  a.rules.delay_us = 0;
  a.rules.threads = 0;
  EXPECT_THAT(a.Join().message(), testing::HasSubstr("threads: expected at least 1, got 0"));
  a.rules.threads = 1;
  a.entity[0] = 1;
  EXPECT_THAT(a.Join().message(), testing::HasSubstr("history: row 0: expected an entity below 1, got 1"));
  a.entity[0] = 0;
  a.asked[0] = 3;
  EXPECT_THAT(a.Join().message(), testing::HasSubstr("spine: row 0: expected an entity below 1, got 3"));
  a.asked[0] = 0;
  a.sequence = {1, 2};
  EXPECT_THAT(a.Join().message(), testing::HasSubstr("sequence: expected 1 rows, got 2"));
  a.sequence = {};
  a.rules.entities = -1;
  EXPECT_EQ(a.Join().code(), Code::kInvalidInput);
}

}  // namespace
}  // namespace falaj

#include "load/sequences.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace falaj::load {
namespace {

using Outcome = Sequences::Outcome;

SequenceOptions Options(size_t live, uint64_t least, uint64_t most, uint64_t ids = 1'000'000) {
  return {.live = live, .least_length = least, .most_length = most, .first_id = 10, .ids = ids};
}

TEST(Sequences, MarkTheFirstAndTheLast_WhenAllIsAnswered) {
  Sequences sequences(Options(1, 3, 3), false, 1);
  for (uint64_t id = 10; id < 13; ++id) {
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(sequences.HasFree());
      const Mark mark = sequences.Take();
      EXPECT_EQ(mark.sequence, id);
      EXPECT_EQ(mark.starts, i == 0);
      EXPECT_EQ(mark.ends, i == 2);
      EXPECT_FALSE(sequences.HasFree());  // one is under way
      EXPECT_TRUE(sequences.OnAnswer(mark.index, Outcome::kAnswered));
    }
  }
  EXPECT_EQ(sequences.TakeCompleted(), 3U);
  EXPECT_EQ(sequences.TakeCompleted(), 0U);
}

TEST(Sequences, AreOfAllLengths_WhenTheyAreDrawn) {
  Sequences sequences(Options(1, 2, 4), false, 7);
  std::map<int, int> seen;
  for (int i = 0; i < 3000; ++i) {
    Mark mark;
    int length = 0;
    do {
      mark = sequences.Take();
      ++length;
      sequences.OnAnswer(mark.index, Outcome::kAnswered);
    } while (!mark.ends);
    ++seen[length];
  }
  ASSERT_EQ(seen.size(), 3U);
  for (const auto& [length, count] : seen) EXPECT_NEAR(count, 1000, 150) << length;
}

TEST(Sequences, TakeTurns_WhenTheLoopIsOpen) {
  Sequences in_turn(Options(3, 100, 100), true, 1), last(Options(3, 100, 100), false, 1);
  std::vector<size_t> turns, same;
  for (int i = 0; i < 6; ++i) {
    turns.push_back(in_turn.Take().index);
    in_turn.OnAnswer(turns.back(), Outcome::kAnswered);
    same.push_back(last.Take().index);
    last.OnAnswer(same.back(), Outcome::kAnswered);
  }
  EXPECT_EQ(turns, (std::vector<size_t>{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(same, std::vector<size_t>(6, same[0]));
}

TEST(Sequences, BeginAnother_WhenARequestFails) {
  for (const Outcome outcome : {Outcome::kUnknown, Outcome::kRefused, Outcome::kFailed}) {
    Sequences sequences(Options(1, 5, 5), false, 1);
    const Mark first = sequences.Take();
    sequences.OnAnswer(first.index, Outcome::kAnswered);
    sequences.OnAnswer(sequences.Take().index, outcome);
    const Mark next = sequences.Take();
    EXPECT_TRUE(next.starts);
    EXPECT_NE(next.sequence, first.sequence);
    EXPECT_EQ(sequences.TakeCompleted(), 0U);
  }
}

// What the server keeps after the load has ended in `sequences`; `last`: how the requests that end end.
std::set<uint64_t> Ended(Sequences& sequences, std::set<uint64_t> kept, Outcome last) {
  sequences.EndAll();
  while (sequences.HasFree()) {
    const Mark mark = sequences.Take();
    EXPECT_TRUE(mark.ends && !mark.starts);
    EXPECT_FALSE(sequences.OnAnswer(mark.index, last));
    if (last == Outcome::kAnswered) kept.erase(mark.sequence);
  }
  EXPECT_EQ(sequences.closing(), 0U);
  return kept;
}

TEST(Sequences, EndWhatWasBegun_WhenAllAreEnded) {
  Sequences sequences(Options(4, 10, 10), true, 1);
  std::set<uint64_t> kept;
  const auto ask = [&](Outcome outcome) {
    const Mark mark = sequences.Take();
    if (outcome != Outcome::kRefused) kept.insert(mark.sequence);
    sequences.OnAnswer(mark.index, outcome);
  };
  ask(Outcome::kAnswered);
  ask(Outcome::kFailed);   // given up, and perhaps kept
  ask(Outcome::kRefused);  // not begun
  EXPECT_EQ(kept.size(), 2U);
  EXPECT_TRUE(Ended(sequences, kept, Outcome::kAnswered).empty());
  EXPECT_EQ(sequences.left(), 0U);
}

TEST(Sequences, AreCountedAsLeft_WhenTheyCannotBeEnded) {
  Sequences sequences(Options(2, 10, 10), true, 1);
  for (int i = 0; i < 2; ++i) sequences.OnAnswer(sequences.Take().index, Outcome::kAnswered);
  Ended(sequences, {}, Outcome::kFailed);
  EXPECT_EQ(sequences.left(), 2U);
}

TEST(Sequences, AreLeft_WhenNobodyEndsThem) {
  Sequences sequences(Options(3, 10, 10), true, 1);
  sequences.OnAnswer(sequences.Take().index, Outcome::kAnswered);
  const Mark under_way = sequences.Take();
  sequences.EndAll();
  EXPECT_EQ(sequences.left(), 2U);                                       // the third was not begun
  EXPECT_TRUE(sequences.OnAnswer(under_way.index, Outcome::kAnswered));  // part of the load
  EXPECT_EQ(sequences.left(), 2U);
}

TEST(Sequences, KeepTheirRules_WhenAnythingHappens) {
  std::mt19937_64 random(3);
  for (int run = 0; run < 200; ++run) {
    const size_t live = 1 + random() % 5;
    Sequences sequences(Options(live, 1, 1 + random() % 4, live + random() % 3), run % 2 == 0, random());
    std::map<size_t, Mark> under_way;     // by index
    std::map<uint64_t, size_t> begun_at;  // ids that are under way, or of which more will come
    std::set<uint64_t> kept;              // by the server
    for (int i = 0; i < 300; ++i) {
      if (sequences.HasFree() && random() % 2 == 0) {
        const Mark mark = sequences.Take();
        ASSERT_TRUE(under_way.try_emplace(mark.index, mark).second);
        ASSERT_TRUE(mark.sequence >= 10 && mark.sequence < 10 + live + 3);
        if (mark.starts) {
          ASSERT_TRUE(begun_at.try_emplace(mark.sequence, mark.index).second);
        }
        ASSERT_EQ(begun_at.at(mark.sequence), mark.index);
      } else if (!under_way.empty()) {
        const auto [index, mark] = *under_way.begin();
        under_way.erase(index);
        const auto outcome = random() % 8 == 0 ? Outcome::kFailed : Outcome::kAnswered;
        if (outcome == Outcome::kFailed || mark.ends) begun_at.erase(mark.sequence);
        kept.insert(mark.sequence);
        if (outcome == Outcome::kAnswered && mark.ends) kept.erase(mark.sequence);
        ASSERT_TRUE(sequences.OnAnswer(index, outcome));
      }
    }
    for (const auto& [index, mark] : under_way) {
      kept.insert(mark.sequence);
      if (mark.ends) kept.erase(mark.sequence);
      sequences.OnAnswer(index, Outcome::kAnswered);
    }
    EXPECT_TRUE(Ended(sequences, kept, Outcome::kAnswered).empty());
    EXPECT_EQ(sequences.left(), 0U);
  }
}

}  // namespace
}  // namespace falaj::load

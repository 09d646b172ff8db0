#include "join/window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "join/window_reader.h"
#include "join/window_sweep.h"

namespace falaj::join {
namespace {

constexpr int64_t kTile = 1000;

WindowSpec Spec() {
  WindowSpec spec;
  spec.columns = {Kind::kFloat, Kind::kInteger};
  spec.delay = 300;
  for (const auto function : {Function::kCount, Function::kSum, Function::kMean, Function::kStd,
                              Function::kMin, Function::kMax, Function::kLast, Function::kDistinct}) {
    spec.aggregates.push_back({function, 0, 3 * kTile, kTile});
    spec.aggregates.push_back({function, 1, 20 * kTile, 2 * kTile});
  }
  spec.aggregates.push_back({Function::kCount, -1, 5 * kTile, kTile});
  return spec;
}

Event At(int64_t event, int64_t known, double value, std::optional<std::string> id = {}) {
  return {{event, known, 0}, std::move(id), {value, int64_t{1}}};
}

WindowSpec Sum() { return {{Kind::kFloat, Kind::kInteger}, {{Function::kSum, 0, 3 * kTile, kTile}}, 300}; }

Value SumAt(const WindowState& state, int64_t time) { return state.Get(time).value()[0]; }

TEST(WindowTest, EventCountsFromWhenItCanBeSeenUntilItsTileIsTooOld) {
  const WindowSpec spec = Sum();
  WindowState state(spec);
  ASSERT_TRUE(state.Add(At(1500, 1600, 2.0)).ok());
  EXPECT_TRUE(IsNull(SumAt(state, 1899)));
  EXPECT_EQ(SumAt(state, 1900), Value(2.0));
  EXPECT_EQ(SumAt(state, 3999), Value(2.0));
  EXPECT_TRUE(IsNull(SumAt(state, 4000)));
  state.Advance(1900);
  EXPECT_EQ(SumAt(state, 3999), Value(2.0));
  EXPECT_FALSE(state.Get(1899).ok());
}

TEST(WindowTest, TilesAreAlignedWhenTimesAreBefore1970) {
  const WindowSpec spec = Sum();
  WindowState state(spec);
  ASSERT_TRUE(state.Add(At(-1, -400, 2.0)).ok());
  EXPECT_EQ(SumAt(state, -1), Value(2.0));
  EXPECT_EQ(SumAt(state, 1999), Value(2.0));
  EXPECT_TRUE(IsNull(SumAt(state, 2000)));
}

TEST(WindowTest, CopyKnownFirstCountsWhenTheOtherCameBefore) {
  const WindowSpec spec = Sum();
  WindowState state(spec);
  ASSERT_TRUE(state.Add(At(500, 900, 2.0, "a")).ok());
  ASSERT_TRUE(state.Add(At(600, 600, 8.0, "b")).ok());
  state.Advance(1500);
  EXPECT_EQ(SumAt(state, 1500), Value(10.0));
  ASSERT_TRUE(state.Add(At(500, 700, 4.0, "a")).ok());
  ASSERT_TRUE(state.Add(At(500, 950, 16.0, "a")).ok());
  EXPECT_EQ(SumAt(state, 1500), Value(12.0));
}

TEST(WindowTest, ExtremeTimesAreServedWhenGiven) {
  const WindowSpec spec = Sum();
  WindowState state(spec);
  constexpr int64_t most = std::numeric_limits<int64_t>::max(), least = std::numeric_limits<int64_t>::min();
  ASSERT_TRUE(state.Add(At(least, least, 1.0, "a")).ok());
  ASSERT_TRUE(state.Add(At(least, least + 1, 1.0, "a")).ok());
  ASSERT_TRUE(state.Add(At(most, most, 2.0)).ok());
  EXPECT_EQ(SumAt(state, least + 300), Value(1.0));
  EXPECT_EQ(SumAt(state, most), Value(2.0));
  state.Advance(most);
  EXPECT_EQ(SumAt(state, most), Value(2.0));
}

TEST(WindowTest, SpecIsRefusedWhenItCannotBeServed) {
  const auto refused = [](const Aggregate& aggregate, Kind kind = Kind::kFloat) {
    return !WindowSpec{{kind}, {aggregate}, 0}.Check().ok();
  };
  EXPECT_TRUE(refused({Function::kSum, 0, 1500, kTile}));
  EXPECT_TRUE(refused({Function::kSum, 0, 100, 100}));
  EXPECT_TRUE(refused({Function::kSum, 1, 2000, kTile}));
  EXPECT_TRUE(refused({Function::kSum, -1, 2000, kTile}));
  EXPECT_TRUE(refused({Function::kMax, 0, 2000, kTile}, Kind::kText));
  EXPECT_FALSE(refused({Function::kLast, 0, 2000, kTile}, Kind::kText));
}

TEST(WindowTest, ValueOfAnotherKindIsRefusedWhenAdded) {
  const WindowSpec spec = Sum();
  WindowState state(spec);
  EXPECT_FALSE(state.Add({{}, {}, {int64_t{1}, int64_t{1}}}).ok());
  EXPECT_FALSE(state.Add({{}, {}, {1.0}}).ok());
}

std::vector<Event> RandomEvents(std::mt19937_64& random) {
  const double values[] = {0.0, -0.0, 1.5, -1e300, 1e-300, std::nan(""), HUGE_VAL, 0.1, 0.2, 0.3};
  std::vector<Event> events;
  for (uint64_t i = random() % 30; i > 0; --i) {
    Event event;
    event.at = {static_cast<int64_t>(random() % 30000), static_cast<int64_t>(random() % 30000),
                static_cast<int64_t>(random() % 2)};
    if (random() % 2 == 0) {
      const uint64_t id = random() % 12;
      event.id = std::to_string(id);
      event.at.event = static_cast<int64_t>(id) * 2500;
    }
    event.values = {Value(values[random() % 10]), Value(static_cast<int64_t>(random() % 4))};
    if (random() % 6 == 0) event.values[random() % 2] = Value();
    events.push_back(std::move(event));
  }
  return events;
}

// What the rules say, of all events at once and nothing else.
std::vector<Value> Expected(const WindowSpec& spec, const std::vector<Event>& events, int64_t time) {
  std::vector<Value> values;
  for (const Aggregate& of : spec.aggregates) {
    Tile tile(of.function, of.column < 0 ? Kind::kInteger : spec.columns[static_cast<size_t>(of.column)]);
    for (const Event& event : events) {
      const auto key = [](const Event& each) {
        return std::tuple(each.at.known, each.at.event, each.at.sequence);
      };
      const bool counts = std::none_of(events.begin(), events.end(), [&](const Event& other) {
        if (!event.id || other.id != event.id) return false;
        if (key(other) != key(event)) return key(other) < key(event);
        return std::lexicographical_compare(other.values.begin(), other.values.end(), event.values.begin(),
                                            event.values.end(), ValueLess());
      });
      const int64_t visible = std::max(event.at.event, event.at.known + spec.delay);
      const int64_t age = time / of.tile - event.at.event / of.tile;
      if (!counts || visible > time || age >= of.window / of.tile) continue;
      of.column < 0 ? tile.AddRow() : tile.Add(event.values[static_cast<size_t>(of.column)], event.at);
    }
    values.push_back(tile.Get().value());
  }
  return values;
}

bool Same(const std::vector<Value>& a, const std::vector<Value>& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(),
                    [](const Value& x, const Value& y) { return !ValueLess()(x, y) && !ValueLess()(y, x); });
}

// What the reader has of the bytes of a state.
std::vector<Value> Read(WindowReader& reader, const WindowSpec& spec, const std::string& bytes,
                        int64_t time) {
  const Status status = reader.Read(spec, bytes, time);
  EXPECT_TRUE(status.ok()) << status.message();
  std::vector<Value> values;
  for (const ValueView& value : reader.values()) values.push_back(Owned(value));
  return values;
}

TEST(WindowTest, ValuesAndBytesAreTheSameWhenOrderCopiesAndChunksDiffer) {
  WindowReader reader;
  const WindowSpec spec = Spec();
  ASSERT_TRUE(spec.Check().ok());
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<Event> events = RandomEvents(random);
    // A copy to the bit is one event of those with ids.
    std::vector<Event> unique;
    for (const Event& event : events) {
      if (!event.id || std::none_of(unique.begin(), unique.end(), [&](const Event& other) {
            return other.id == event.id && other.at == event.at;
          }))
        unique.push_back(event);
    }
    events = unique;
    WindowState whole(spec);
    for (const Event& event : events) ASSERT_TRUE(whole.Add(event).ok());
    const auto time = static_cast<int64_t>(random() % 35000);
    ASSERT_TRUE(Same(whole.Get(time).value(), Expected(spec, events, time)));
    ASSERT_TRUE(Same(Read(reader, spec, whole.Write(), time), Expected(spec, events, time)));
    whole.Advance(time);
    ASSERT_TRUE(Same(whole.Get(time).value(), Expected(spec, events, time)));
    for (const int64_t later : {time, time + 777, time + 9999})
      ASSERT_TRUE(Same(Read(reader, spec, whole.Write(), later), Expected(spec, events, later)));

    std::shuffle(events.begin(), events.end(), random);
    WindowState other(spec);
    int64_t reached = 0;
    for (const Event& event : events) {
      ASSERT_TRUE(other.Add(event).ok());
      if (event.id && random() % 2 == 0) {
        ASSERT_TRUE(other.Add(event).ok());
      }
      if (random() % 3 == 0)
        other.Advance(reached = std::min(time, reached + static_cast<int64_t>(random() % 5000)));
      if (random() % 4 == 0) {
        const std::string bytes = other.Write();
        Result<WindowState> again = WindowState::Read(spec, bytes);
        ASSERT_TRUE(again.ok()) << again.status().message();
        ASSERT_EQ(again->Write(), bytes);
        other = std::move(*again);
      }
    }
    other.Advance(time);
    ASSERT_TRUE(Same(other.Get(time).value(), whole.Get(time).value()));
    ASSERT_EQ(other.Write(), whole.Write());
  }
}

TEST(WindowTest, ReadFailsWhenBytesAreCutOffOrOfAnotherSpec) {
  const WindowSpec spec = Spec(), other = Sum();
  std::mt19937_64 random(4);
  WindowState state(spec);
  for (int i = 0; i < 3; ++i) {
    for (const Event& event : RandomEvents(random)) ASSERT_TRUE(state.Add(event).ok());
  }
  state.Advance(15000);
  const std::string bytes = state.Write();
  WindowReader reader;
  ByteReader head(bytes);
  const size_t own = StateHead::Read(spec, head).value().own;
  ASSERT_NE(own, 0U);
  for (size_t size = 1; size < bytes.size(); ++size) {
    ASSERT_FALSE(WindowState::Read(spec, std::string_view(bytes).substr(0, size)).ok()) << size;
    ASSERT_EQ(reader.Read(spec, std::string_view(bytes).substr(0, size), 15000).ok(), size >= own) << size;
  }
  EXPECT_FALSE(WindowState::Read(spec, "").ok());
  EXPECT_FALSE(WindowState::Read(spec, bytes + "x").ok());
  EXPECT_FALSE(WindowState::Read(other, bytes).ok());
  EXPECT_FALSE(reader.Read(other, bytes, 15000).ok());
}

TEST(WindowSweepTest, RowsHaveWhatAStateOfTheirEntityHasWhenSwept) {
  const WindowSpec spec = Sum();
  const std::vector<int64_t> entity = {1, 1, 3}, event = {500, 1500, 100}, known = {0, 2000, 0},
                             zero = {0, 0, 0};
  const std::vector<double> values = {1.0, 2.0, 4.0};
  EventArrays events{entity, event, known, zero, {}, {}, {{{}, values, {}}, {zero, {}, {}}}};
  const std::vector<int64_t> who = {0, 1, 1, 1, 3}, when = {900, 600, 2300, 3000, 900};
  const auto features = SweepWindows(spec, events, {who, when});
  ASSERT_TRUE(features.ok()) << features.status().message();
  EXPECT_EQ(features.value()[0].floats, (std::vector<double>{0, 1, 3, 2, 4}));
  EXPECT_EQ(features.value()[0].valid, (std::vector<uint8_t>{0, 1, 1, 1, 1}));
  const std::vector<int64_t> backwards = {900, 600, 500, 3000, 900};
  EXPECT_FALSE(SweepWindows(spec, events, {who, backwards}).ok());
  events.columns.pop_back();
  EXPECT_FALSE(SweepWindows(spec, events, {who, when}).ok());
}

}  // namespace
}  // namespace falaj::join

// Aggregates over sliding windows of the events of one entity.
//
// An event can be seen at t from max(event, known + delay) on. The value of an aggregate at t is that of the
// visible events whose tile is one of the last window / tile tiles up to and including t's own; tiles are
// aligned to 1970. So the window's newest edge is exact, and its oldest moves by a tile. Nulls are skipped.
// Of events with one id the one known first, then by event and sequence, is all there is: the others never
// count. A sum is rounded once (exact_sum.h). The values depend on the set of events only: not on their
// order, on copies, on how they were chunked, or on when the state was written and read between.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "join/tile.h"
#include "join/window_spec.h"

namespace falaj::join {

struct Event {
  Moment at;
  std::optional<std::string> id;
  std::vector<Value> values;
};

// What the bytes of a state begin with. REQUIRES of what follows: see WindowState::Write
struct StateHead {
  static constexpr uint8_t kFormat = 2;

  int64_t advanced;
  size_t own;  // where that begins which only adding needs; 0: nowhere
  // Fails where the bytes are of another spec or format.
  static Result<StateHead> Read(const WindowSpec& spec, ByteReader& from);
};

// Of one entity. Not thread-safe.
//
// 1. Once advanced to t, it answers for t and later; what no window can need from then on is gone.
// 2. The same events, added before or after any advance, and the same time advanced to give the same bytes,
//    if events of one id have one event time. (The copy of an event that is gone is not known for one.)
class WindowState {
 public:
  // `spec` outlives the state. REQUIRES: spec.Check().ok()
  explicit WindowState(const WindowSpec& spec);

  // Fails, changing nothing, where the values are not of the columns' kinds.
  Status Add(Event event);
  // Takes in what can be seen by `time`, and drops what is too old. An earlier time than before does nothing.
  void Advance(int64_t time);
  // The value of each aggregate. Fails for a time before that advanced to.
  Result<std::vector<Value>> Get(int64_t time) const;

  // The head; then what reading needs (window_reader.h): the pending events, by when they can be seen and
  // without ids, and the tiles of each aggregate by number. Then, where there are events with ids, what
  // adding needs: the pending events and the tiles of those without, and before these the events with ids, by
  // id.
  std::string Write() const;
  // Fails where the bytes are corrupt or of another spec.
  static Result<WindowState> Read(const WindowSpec& spec, std::string_view bytes);

 private:
  struct PendingLess {
    bool operator()(const std::pair<int64_t, Event>& a, const std::pair<int64_t, Event>& b) const;
  };
  using Tiles = std::vector<std::map<int64_t, Tile>>;  // of each aggregate, by number

  int64_t VisibleFrom(const Event& event) const;
  void AddIdentified(Event event);
  void AddTo(Tiles& tiles, size_t aggregate, const Event& event) const;
  void AddToAll(Tiles& tiles, const Event& event) const;
  void Rebuild(const Event& without);
  void Drop();
  Status CheckEvent(const Event& event) const;
  void WriteTiles(ByteWriter& to, bool all) const;
  Status ReadPending(ByteReader& from);
  Status ReadIdentified(ByteReader& from);
  Status ReadTiles(ByteReader& from);
  Result<Event> ReadEvent(ByteReader& from, bool identified) const;

  const WindowSpec* spec_;
  int64_t advanced_;
  int64_t oldest_;  // of event times that a window can still need
  Tiles tiles_;     // events without id that can be seen
  std::multiset<std::pair<int64_t, Event>, PendingLess> pending_;  // the others, by when they can
  std::map<std::string, Event, std::less<>> identified_;           // the event that counts, of each id
  // Made from identified_:
  Tiles identified_tiles_;
  std::set<std::pair<int64_t, std::string>> identified_pending_;
  std::set<std::pair<int64_t, std::string>> by_event_;
};

}  // namespace falaj::join

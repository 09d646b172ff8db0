#include "join/window.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace falaj::join {
namespace {

constexpr int64_t kEarliest = std::numeric_limits<int64_t>::min();
constexpr uint8_t kFormat = 1;
constexpr int64_t kShortestTile = 1000;
constexpr int64_t kMostTiles = 100'000;

int64_t TileOf(int64_t time, int64_t tile) {
  const int64_t number = time / tile;
  return number * tile > time ? number - 1 : number;
}

// The number of the oldest tile of an aggregate at `time`. Tiles of 1000 or more leave room below.
int64_t OldestTile(const Aggregate& of, int64_t time) {
  return TileOf(time, of.tile) - of.window / of.tile + 1;
}

bool ValuesLess(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), ValueLess());
}

// Whether, of two events of one id, `a` is the one that counts.
bool CountsBefore(const Event& a, const Event& b) {
  const auto key = [](const Event& of) { return std::tuple(of.at.known, of.at.event, of.at.sequence); };
  return key(a) != key(b) ? key(a) < key(b) : ValuesLess(a.values, b.values);
}

void WriteEvent(const Event& event, ByteWriter& to) {
  to.I64(event.at.event);
  to.I64(event.at.known);
  to.I64(event.at.sequence);
  if (event.id) to.Text(*event.id);
  for (const Value& value : event.values) WriteValue(value, to);
}

void WriteSpec(const WindowSpec& spec, ByteWriter& to) {
  to.U32(static_cast<uint32_t>(spec.columns.size()));
  for (const Kind kind : spec.columns) to.U8(static_cast<uint8_t>(kind));
  to.U32(static_cast<uint32_t>(spec.aggregates.size()));
  for (const Aggregate& each : spec.aggregates) {
    to.U8(static_cast<uint8_t>(each.function));
    to.I64(each.column);
    to.I64(each.window);
    to.I64(each.tile);
  }
  to.I64(spec.delay);
}

Kind KindOf(const WindowSpec& spec, const Aggregate& of) {
  return of.column < 0 ? Kind::kInteger : spec.columns[static_cast<size_t>(of.column)];
}

}  // namespace

Status WindowSpec::Check() const {
  if (delay < 0) return InvalidInput("delay: expected 0 or more, got " + std::to_string(delay));
  for (size_t i = 0; i < aggregates.size(); ++i) {
    const Aggregate& each = aggregates[i];
    const std::string at = "aggregate " + std::to_string(i) + ": ";
    if (each.function > Function::kDistinct) return InvalidInput(at + "unknown function");
    if (each.column >= static_cast<int>(columns.size()) || each.column < -1)
      return InvalidInput(at + "no column " + std::to_string(each.column));
    if (each.column == -1 && each.function != Function::kCount)
      return InvalidInput(at + "only a count can be of rows");
    if (each.tile < kShortestTile || each.window < each.tile || each.window % each.tile != 0 ||
        each.window / each.tile > kMostTiles)
      return InvalidInput(at + "expected a window of whole tiles of " + std::to_string(kShortestTile) +
                          " us or more, got " + std::to_string(each.window) + " us of " +
                          std::to_string(each.tile) + " us");
    const bool computes = each.function != Function::kCount && each.function != Function::kLast &&
                          each.function != Function::kDistinct;
    if (computes && KindOf(*this, each) == Kind::kText)
      return InvalidInput(at + "expected numbers, got text");
  }
  return Status::Ok();
}

bool WindowState::EventLess::operator()(const std::pair<int64_t, Event>& a,
                                        const std::pair<int64_t, Event>& b) const {
  if (a.first != b.first) return a.first < b.first;
  if (a.second.at != b.second.at) return a.second.at < b.second.at;
  return ValuesLess(a.second.values, b.second.values);
}

WindowState::WindowState(const WindowSpec& spec)
    : spec_(&spec),
      advanced_(kEarliest),
      oldest_(kEarliest),
      tiles_(spec.aggregates.size()),
      identified_tiles_(spec.aggregates.size()) {}

int64_t WindowState::VisibleFrom(const Event& event) const {
  int64_t usable;
  if (__builtin_add_overflow(event.at.known, spec_->delay, &usable))
    usable = std::numeric_limits<int64_t>::max();
  return std::max(event.at.event, usable);
}

Status WindowState::CheckEvent(const Event& event) const {
  if (event.values.size() != spec_->columns.size())
    return InvalidInput("event: expected " + std::to_string(spec_->columns.size()) + " values, got " +
                        std::to_string(event.values.size()));
  for (size_t i = 0; i < event.values.size(); ++i) {
    const Value& value = event.values[i];
    if (!IsNull(value) && value.index() != static_cast<size_t>(spec_->columns[i]))
      return InvalidInput("event, value " + std::to_string(i) + ": is not of its column's kind");
  }
  return Status::Ok();
}

Status WindowState::Add(Event event) {
  FALAJ_RETURN_IF_ERROR(CheckEvent(event));
  if (event.id) {
    AddIdentified(std::move(event));
    return Status::Ok();
  }
  const int64_t visible = VisibleFrom(event);
  if (visible > advanced_) {
    pending_.emplace(visible, std::move(event));
  } else {
    AddToAll(tiles_, event);
  }
  return Status::Ok();
}

void WindowState::AddIdentified(Event event) {
  if (event.at.event < oldest_) return;
  if (const auto found = identified_.find(*event.id); found != identified_.end()) {
    if (!CountsBefore(event, found->second)) return;
    const Event other = std::move(found->second);
    identified_.erase(found);
    by_event_.erase({other.at.event, *other.id});
    if (identified_pending_.erase({VisibleFrom(other), *other.id}) == 0) Rebuild(other);
  }
  const int64_t visible = VisibleFrom(event);
  by_event_.emplace(event.at.event, *event.id);
  if (visible > advanced_) {
    identified_pending_.emplace(visible, *event.id);
  } else {
    AddToAll(identified_tiles_, event);
  }
  std::string id = *event.id;
  identified_.emplace(std::move(id), std::move(event));
}

// Makes the tiles again that `without`, which is no longer in identified_, was in.
void WindowState::Rebuild(const Event& without) {
  for (size_t i = 0; i < spec_->aggregates.size(); ++i) {
    const int64_t tile = spec_->aggregates[i].tile;
    const int64_t number = TileOf(without.at.event, tile);
    identified_tiles_[i].erase(number);
    int64_t first;
    if (__builtin_mul_overflow(number, tile, &first)) first = kEarliest;
    for (auto at = by_event_.lower_bound({first, {}});
         at != by_event_.end() && TileOf(at->first, tile) == number; ++at) {
      const Event& event = identified_.find(at->second)->second;
      if (VisibleFrom(event) <= advanced_) AddTo(identified_tiles_, i, event);
    }
  }
}

void WindowState::AddTo(Tiles& tiles, size_t aggregate, const Event& event) const {
  const Aggregate& of = spec_->aggregates[aggregate];
  const int64_t number = TileOf(event.at.event, of.tile);
  if (number < OldestTile(of, advanced_)) return;
  const Value* value = of.column < 0 ? nullptr : &event.values[static_cast<size_t>(of.column)];
  if (value != nullptr && IsNull(*value)) return;
  Tile& tile = tiles[aggregate].try_emplace(number, of.function, KindOf(*spec_, of)).first->second;
  value == nullptr ? tile.AddRow() : tile.Add(*value, event.at);
}

void WindowState::AddToAll(Tiles& tiles, const Event& event) const {
  for (size_t i = 0; i < spec_->aggregates.size(); ++i) AddTo(tiles, i, event);
}

void WindowState::Advance(int64_t time) {
  if (time <= advanced_) return;
  advanced_ = time;
  Drop();
  for (auto at = pending_.begin(); at != pending_.end() && at->first <= time; at = pending_.erase(at))
    AddToAll(tiles_, at->second);
  for (auto at = identified_pending_.begin(); at != identified_pending_.end() && at->first <= time;
       at = identified_pending_.erase(at))
    AddToAll(identified_tiles_, identified_.find(at->second)->second);
}

void WindowState::Drop() {
  int64_t oldest = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < spec_->aggregates.size(); ++i) {
    const Aggregate& of = spec_->aggregates[i];
    const int64_t number = OldestTile(of, advanced_);
    for (Tiles* tiles : {&tiles_, &identified_tiles_})
      (*tiles)[i].erase((*tiles)[i].begin(), (*tiles)[i].lower_bound(number));
    int64_t start;
    if (__builtin_mul_overflow(number, of.tile, &start)) start = kEarliest;
    oldest = std::min(oldest, start);
  }
  oldest_ = oldest;
  while (!by_event_.empty() && by_event_.begin()->first < oldest_) {
    const auto found = identified_.find(by_event_.begin()->second);
    identified_pending_.erase({VisibleFrom(found->second), found->first});
    identified_.erase(found);
    by_event_.erase(by_event_.begin());
  }
}

Result<std::vector<Value>> WindowState::Get(int64_t time) const {
  if (time < advanced_)
    return InvalidInput("time: expected " + std::to_string(advanced_) + " or later, got " +
                        std::to_string(time));
  Tiles now(spec_->aggregates.size());  // what can be seen by then, and could not before
  for (auto at = pending_.begin(); at != pending_.end() && at->first <= time; ++at) AddToAll(now, at->second);
  for (auto at = identified_pending_.begin(); at != identified_pending_.end() && at->first <= time; ++at)
    AddToAll(now, identified_.find(at->second)->second);
  std::vector<Value> values;
  values.reserve(spec_->aggregates.size());
  for (size_t i = 0; i < spec_->aggregates.size(); ++i) {
    const Aggregate& of = spec_->aggregates[i];
    Tile all(of.function, KindOf(*spec_, of));
    for (const Tiles* tiles : {&tiles_, &identified_tiles_, static_cast<const Tiles*>(&now)}) {
      for (auto at = (*tiles)[i].lower_bound(OldestTile(of, time)); at != (*tiles)[i].end(); ++at)
        all.Merge(at->second);
    }
    Result<Value> value = all.Get();
    FALAJ_RETURN_IF_ERROR(value.status());
    values.push_back(std::move(*value));
  }
  return values;
}

std::string WindowState::Write() const {
  ByteWriter to;
  to.U8(kFormat);
  WriteSpec(*spec_, to);
  to.I64(advanced_);
  to.U32(static_cast<uint32_t>(pending_.size()));
  for (const auto& [visible, event] : pending_) WriteEvent(event, to);
  to.U32(static_cast<uint32_t>(identified_.size()));
  for (const auto& [id, event] : identified_) WriteEvent(event, to);
  for (const auto& tiles : tiles_) {
    to.U32(static_cast<uint32_t>(tiles.size()));
    for (const auto& [number, tile] : tiles) {
      to.I64(number);
      tile.Write(to);
    }
  }
  return to.Take();
}

Result<WindowState> WindowState::Read(const WindowSpec& spec, std::string_view bytes) {
  ByteWriter expected;
  expected.U8(kFormat);
  WriteSpec(spec, expected);
  const std::string head = expected.Take();
  if (!bytes.starts_with(head)) return InvalidInput("window state: is of another definition or format");
  ByteReader from(bytes.substr(head.size()));
  WindowState state(spec);
  FALAJ_RETURN_IF_ERROR(state.ReadEvents(from, from.I64()));
  FALAJ_RETURN_IF_ERROR(state.ReadTiles(from));
  if (!from.ok() || from.left() != 0) return InvalidInput("window state: its bytes are cut off or too many");
  return state;
}

Result<Event> WindowState::ReadEvent(ByteReader& from, bool identified) const {
  Event event;
  event.at = {from.I64(), from.I64(), from.I64()};
  if (identified) event.id = std::string(from.Text());
  for (const Kind kind : spec_->columns) {
    Result<Value> value = ReadValue(kind, from);
    FALAJ_RETURN_IF_ERROR(value.status());
    event.values.push_back(std::move(*value));
  }
  if (!from.ok()) return InvalidInput("window state: its events are cut off");
  return event;
}

Status WindowState::ReadEvents(ByteReader& from, int64_t advanced) {
  Advance(advanced);
  for (uint32_t left = from.U32(); left > 0; --left) {
    Result<Event> event = ReadEvent(from, false);
    FALAJ_RETURN_IF_ERROR(event.status());
    std::pair<int64_t, Event> next{VisibleFrom(*event), std::move(*event)};
    if (next.first <= advanced_ || (!pending_.empty() && EventLess()(next, *pending_.rbegin())))
      return InvalidInput("window state: its pending events are not in order");
    pending_.insert(pending_.end(), std::move(next));
  }
  for (uint32_t left = from.U32(); left > 0; --left) {
    Result<Event> event = ReadEvent(from, true);
    FALAJ_RETURN_IF_ERROR(event.status());
    if (event->at.event < oldest_ || (!identified_.empty() && *event->id <= identified_.rbegin()->first))
      return InvalidInput("window state: its identified events are not in order");
    AddIdentified(std::move(*event));
  }
  return Status::Ok();
}

Status WindowState::ReadTiles(ByteReader& from) {
  for (size_t i = 0; i < spec_->aggregates.size(); ++i) {
    const Aggregate& of = spec_->aggregates[i];
    for (uint32_t left = from.U32(); left > 0; --left) {
      const int64_t number = from.I64();
      Result<Tile> tile = Tile::Read(of.function, KindOf(*spec_, of), from);
      FALAJ_RETURN_IF_ERROR(tile.status());
      const bool ascends = tiles_[i].empty() || tiles_[i].rbegin()->first < number;
      if (!ascends || tile->empty() || number < OldestTile(of, advanced_) ||
          number > TileOf(advanced_, of.tile))
        return InvalidInput("window state: its tiles are not in order");
      tiles_[i].emplace_hint(tiles_[i].end(), number, std::move(*tile));
    }
  }
  return Status::Ok();
}

}  // namespace falaj::join

#include "join/window.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace falaj::join {
namespace {

constexpr int64_t kEarliest = std::numeric_limits<int64_t>::min();

bool ValuesLess(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), ValueLess());
}

bool EventLess(const Event& a, const Event& b) {
  return a.at != b.at ? a.at < b.at : ValuesLess(a.values, b.values);
}

// Whether, of two events of one id, `a` is the one that counts.
bool CountsBefore(const Event& a, const Event& b) {
  const auto key = [](const Event& of) { return std::tuple(of.at.known, of.at.event, of.at.sequence); };
  return key(a) != key(b) ? key(a) < key(b) : ValuesLess(a.values, b.values);
}

void WriteEvent(const Event& event, bool with_id, ByteWriter& to) {
  to.I64(event.at.event);
  to.I64(event.at.known);
  to.I64(event.at.sequence);
  if (with_id) to.Text(*event.id);
  for (const Value& value : event.values) WriteValue(value, to);
}

}  // namespace

bool WindowState::PendingLess::operator()(const std::pair<int64_t, Event>& a,
                                          const std::pair<int64_t, Event>& b) const {
  return a.first != b.first ? a.first < b.first : EventLess(a.second, b.second);
}

WindowState::WindowState(const WindowSpec& spec)
    : spec_(&spec),
      advanced_(kEarliest),
      oldest_(kEarliest),
      tiles_(spec.aggregates.size()),
      identified_tiles_(spec.aggregates.size()) {}

int64_t WindowState::VisibleFrom(const Event& event) const {
  return join::VisibleFrom(event.at, spec_->delay);
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
  Tile& tile = tiles[aggregate].try_emplace(number, of.function, spec_->KindOf(of)).first->second;
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
    Tile all(of.function, spec_->KindOf(of));
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
  to.U8(StateHead::kFormat);
  to.U32(spec_->Hash());
  to.I64(advanced_);
  const size_t own_at = to.size();
  to.U32(0);
  std::vector<std::pair<int64_t, const Event*>> pending;
  for (const auto& [visible, event] : pending_) pending.emplace_back(visible, &event);
  for (const auto& [visible, id] : identified_pending_)
    pending.emplace_back(visible, &identified_.find(id)->second);
  if (!identified_pending_.empty())
    std::sort(pending.begin(), pending.end(), [](const auto& a, const auto& b) {
      if (a.first != b.first) return a.first < b.first;
      return EventLess(*a.second, *b.second);
    });
  to.U32(static_cast<uint32_t>(pending.size()));
  for (const auto& [visible, event] : pending) WriteEvent(*event, false, to);
  WriteTiles(to, true);
  if (identified_.empty()) return to.Take();
  to.PutU32(own_at, static_cast<uint32_t>(to.size()));
  to.U32(static_cast<uint32_t>(pending_.size()));
  for (const auto& [visible, event] : pending_) WriteEvent(event, false, to);
  to.U32(static_cast<uint32_t>(identified_.size()));
  for (const auto& [id, event] : identified_) WriteEvent(event, true, to);
  WriteTiles(to, false);
  return to.Take();
}

// `all`: those of events with ids too.
void WindowState::WriteTiles(ByteWriter& to, bool all) const {
  for (size_t i = 0; i < tiles_.size(); ++i) {
    std::map<int64_t, Tile> merged;
    const std::map<int64_t, Tile>* tiles = &tiles_[i];
    if (all && !identified_tiles_[i].empty()) {
      merged = tiles_[i];
      for (const auto& [number, tile] : identified_tiles_[i]) {
        const auto [at, is_new] = merged.try_emplace(number, tile);
        if (!is_new) at->second.Merge(tile);
      }
      tiles = &merged;
    }
    to.U32(static_cast<uint32_t>(tiles->size()));
    for (const auto& [number, tile] : *tiles) {
      to.I64(number);
      tile.Write(to);
    }
  }
}

Result<StateHead> StateHead::Read(const WindowSpec& spec, ByteReader& from) {
  const bool known = from.U8() == kFormat && from.U32() == spec.Hash();
  const StateHead head{from.I64(), from.U32()};
  if (!from.ok() || !known) return InvalidInput("window state: is of another definition or format");
  return head;
}

Result<WindowState> WindowState::Read(const WindowSpec& spec, std::string_view bytes) {
  ByteReader from(bytes);
  Result<StateHead> head = StateHead::Read(spec, from);
  FALAJ_RETURN_IF_ERROR(head.status());
  WindowState state(spec);
  state.Advance(head->advanced);
  if (head->own > bytes.size()) return InvalidInput("window state: its bytes are cut off");
  if (head->own != 0) from = ByteReader(bytes.substr(head->own));
  FALAJ_RETURN_IF_ERROR(state.ReadPending(from));
  if (head->own != 0) FALAJ_RETURN_IF_ERROR(state.ReadIdentified(from));
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

Status WindowState::ReadPending(ByteReader& from) {
  for (uint32_t left = from.U32(); left > 0; --left) {
    Result<Event> event = ReadEvent(from, false);
    FALAJ_RETURN_IF_ERROR(event.status());
    std::pair<int64_t, Event> next{VisibleFrom(*event), std::move(*event)};
    if (next.first <= advanced_ || (!pending_.empty() && PendingLess()(next, *pending_.rbegin())))
      return InvalidInput("window state: its pending events are not in order");
    pending_.insert(pending_.end(), std::move(next));
  }
  return Status::Ok();
}

Status WindowState::ReadIdentified(ByteReader& from) {
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
      Result<Tile> tile = Tile::Read(of.function, spec_->KindOf(of), from);
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

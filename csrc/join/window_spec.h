// What windows a view has, and the arithmetic of their tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "core/status.h"
#include "join/tile.h"

namespace falaj::join {

struct Aggregate {
  Function function;
  int column;      // of Event::values; -1: rows, for kCount
  int64_t window;  // microseconds, a multiple of
  int64_t tile;    // at least 1000
};

struct WindowSpec {
  std::vector<Kind> columns;
  std::vector<Aggregate> aggregates;
  int64_t delay = 0;  // microseconds

  // Whether it can be used; says what cannot.
  Status Check() const;
  // Of the values of an aggregate's column.
  Kind KindOf(const Aggregate& of) const {
    return of.column < 0 ? Kind::kInteger : columns[static_cast<size_t>(of.column)];
  }
  // Tells specs apart that are not the same.
  uint32_t Hash() const;
};

// The number of a time's tile; tiles are aligned to 1970.
inline int64_t TileOf(int64_t time, int64_t tile) {
  const int64_t number = time / tile;
  return number * tile > time ? number - 1 : number;
}

// The number of the oldest tile of an aggregate at `time`. Tiles of 1000 or more leave room below.
inline int64_t OldestTile(const Aggregate& of, int64_t time) {
  return TileOf(time, of.tile) - of.window / of.tile + 1;
}

// From when on an event can be seen.
int64_t VisibleFrom(const Moment& at, int64_t delay);

}  // namespace falaj::join

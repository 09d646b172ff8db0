#include "join/window_spec.h"

#include <algorithm>
#include <limits>
#include <string>

namespace falaj::join {
namespace {

constexpr int64_t kShortestTile = 1000;
constexpr int64_t kMostTiles = 100'000;

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
    if (computes && KindOf(each) == Kind::kText) return InvalidInput(at + "expected numbers, got text");
  }
  return Status::Ok();
}

uint32_t WindowSpec::Hash() const {
  uint64_t hash = 14695981039346656037U;  // FNV-1a, by words
  const auto take = [&hash](int64_t value) {
    hash = (hash ^ static_cast<uint64_t>(value)) * 1099511628211U;
    hash ^= hash >> 29;
  };
  take(delay);
  for (const Kind kind : columns) take(static_cast<int64_t>(kind));
  for (const Aggregate& each : aggregates) {
    take(static_cast<int64_t>(each.function));
    for (const int64_t value : {int64_t{each.column}, each.window, each.tile}) take(value);
  }
  return static_cast<uint32_t>(hash ^ (hash >> 32));
}

int64_t VisibleFrom(const Moment& at, int64_t delay) {
  int64_t usable;
  if (__builtin_add_overflow(at.known, delay, &usable)) usable = std::numeric_limits<int64_t>::max();
  return std::max(at.event, usable);
}

}  // namespace falaj::join

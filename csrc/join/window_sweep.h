// Windowed aggregates of many entities at once: what training sets are made of.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/status.h"
#include "join/window.h"

namespace falaj::join {

// Borrowed arrays, as long as there are events. `valid`: 0 is null; empty: none is.
struct ColumnArray {
  std::span<const int64_t> integers;  // of kInteger
  std::span<const double> floats;     // of kFloat
  std::span<const uint8_t> valid;
};

struct EventArrays {
  std::span<const int64_t> entity, event, known, sequence;  // entities ascend
  std::span<const int64_t> id;                              // empty: none
  std::span<const uint8_t> id_valid;
  std::vector<ColumnArray> columns;
};

struct SpineArrays {
  std::span<const int64_t> entity, time;  // entities ascend; so do the times of each
};

// An aggregate's value for each row of the spine: in `floats` or `integers`, the other is empty.
struct FeatureArray {
  std::vector<int64_t> integers;
  std::vector<double> floats;
  std::vector<uint8_t> valid;
};

// Whether an aggregate's values are doubles. REQUIRES: spec.Check().ok()
bool IsFloat(const WindowSpec& spec, const Aggregate& of);

// Evaluates each aggregate for each row of the spine by WindowState, so that a training set has what serving
// would have had. One entity's state at a time: O(events log + rows * tiles). Fails where arrays differ in
// length or are not in order, where a column is text (give codes that ascend as the texts do), or where a sum
// of integers leaves 64 bits.
Result<std::vector<FeatureArray>> SweepWindows(const WindowSpec& spec, const EventArrays& events,
                                               const SpineArrays& spine);

}  // namespace falaj::join

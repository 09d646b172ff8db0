// The partial aggregate of the events of one tile, a short span of time.
#pragma once

#include <compare>
#include <cstdint>
#include <set>

#include "core/status.h"
#include "join/exact_sum.h"
#include "join/value.h"

namespace falaj::join {

enum class Function : uint8_t { kCount, kSum, kMean, kStd, kMin, kMax, kLast, kDistinct };

// Which of two events is newer.
struct Moment {
  int64_t event = 0, known = 0, sequence = 0;  // UTC microseconds; the last a plain number
  auto operator<=>(const Moment&) const = default;
};

// Of the smallest and the largest value: NaN once there was one, -0.0 below 0.0.
template <typename V>
void TakeExtreme(Function function, const V& value, V& kept) {
  const auto is_nan = [](const V& of) {
    const auto* real = std::get_if<double>(&of);
    return real != nullptr && std::isnan(*real);
  };
  if (is_nan(kept)) return;
  if (is_nan(value)) {
    kept = std::numeric_limits<double>::quiet_NaN();
  } else if (IsNull(kept) ||
             (function == Function::kMin ? ValueLess()(value, kept) : ValueLess()(kept, value))) {
    kept = value;
  }
}

// Of the newest value; of two events of the same moment the greater, so that their order is nothing.
template <typename V>
void TakeLast(const V& value, const Moment& at, V& kept, Moment& kept_at) {
  if (IsNull(kept) || at > kept_at || (at == kept_at && ValueLess()(kept, value))) {
    kept = value;
    kept_at = at;
  }
}

// The sum, mean or deviation of `count` values. Fails where a sum of integers leaves 64 bits.
Status Compute(Function function, Kind kind, uint64_t count, const ExactSum& sum, const ExactSum& squares,
               ValueView& value);

// Adding and merging commute to the bit: two tiles of the same events, however they came together, have the
// same value and the same bytes. Nulls are skipped. Not thread-safe.
class Tile {
 public:
  // `function` and `kind`, of the values, stay as they are. REQUIRES: not kText where the function computes
  Tile(Function function, Kind kind) : function_(function), kind_(kind) {}

  // REQUIRES: the value is null or of the tile's kind
  void Add(const Value& value, const Moment& at);
  // For counts of rows: whatever values they have.
  void AddRow() { ++count_; }
  // REQUIRES: the same function and kind
  void Merge(const Tile& other);

  // Counts and distinct counts are integers, means and deviations doubles, sums, min, max and last of the
  // values' kind. Null where there is nothing to tell. Fails where a sum of integers leaves 64 bits.
  Result<Value> Get() const;
  bool empty() const { return count_ == 0; }

  void Write(ByteWriter& to) const;
  static Result<Tile> Read(Function function, Kind kind, ByteReader& from);

 private:
  Status ReadState(ByteReader& from);

  Function function_;
  Kind kind_;
  uint64_t count_ = 0;
  ExactSum sum_, squares_;
  Value value_;  // of min, max and last
  Moment last_;
  std::set<Value, ValueLess> distinct_;
};

}  // namespace falaj::join

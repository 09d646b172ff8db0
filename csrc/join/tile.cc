#include "join/tile.h"

#include <tuple>

namespace falaj::join {

void Tile::Add(const Value& value, const Moment& at) {
  if (IsNull(value)) return;
  ++count_;
  switch (function_) {
    case Function::kCount:
      return;
    case Function::kStd:
    case Function::kSum:
    case Function::kMean: {
      const bool squares = function_ == Function::kStd;
      if (const auto* integer = std::get_if<int64_t>(&value)) {
        sum_.Add(*integer);
        if (squares) squares_.AddSquare(*integer);
      } else if (const auto* real = std::get_if<double>(&value)) {
        sum_.Add(*real);
        if (squares) squares_.AddSquare(*real);
      }
      return;
    }
    case Function::kMin:
    case Function::kMax:
      return TakeExtreme(value);
    case Function::kLast:
      return TakeLast(value, at);
    case Function::kDistinct:
      distinct_.insert(Canonical(value));
      return;
  }
}

void Tile::TakeExtreme(const Value& value) {
  const auto is_nan = [](const Value& of) {
    const auto* real = std::get_if<double>(&of);
    return real != nullptr && std::isnan(*real);
  };
  if (is_nan(value_)) return;
  if (is_nan(value)) {
    value_ = std::numeric_limits<double>::quiet_NaN();
  } else if (IsNull(value_) ||
             (function_ == Function::kMin ? ValueLess()(value, value_) : ValueLess()(value_, value))) {
    value_ = value;
  }
}

void Tile::TakeLast(const Value& value, const Moment& at) {
  // Of two events of the same moment the greater value, so that their order is nothing.
  if (IsNull(value_) || at > last_ || (at == last_ && ValueLess()(value_, value))) {
    value_ = value;
    last_ = at;
  }
}

void Tile::Merge(const Tile& other) {
  count_ += other.count_;
  sum_.Merge(other.sum_);
  squares_.Merge(other.squares_);
  if (!IsNull(other.value_)) {
    function_ == Function::kLast ? TakeLast(other.value_, other.last_) : TakeExtreme(other.value_);
  }
  distinct_.insert(other.distinct_.begin(), other.distinct_.end());
}

Result<Value> Tile::Get() const {
  switch (function_) {
    case Function::kCount:
      return Value(static_cast<int64_t>(count_));
    case Function::kDistinct:
      return Value(static_cast<int64_t>(distinct_.size()));
    case Function::kSum:
      if (count_ == 0) return Value();
      if (kind_ == Kind::kFloat) return Value(sum_.Sum());
      if (const auto integer = sum_.Integer()) return Value(*integer);
      return InvalidInput("a sum of integers is outside INT64; sum the column as FP64");
    case Function::kMean:
      return count_ == 0 ? Value() : Value(sum_.Mean(count_));
    case Function::kStd:
      return count_ < 2 ? Value() : Value(SampleStd(count_, sum_, squares_));
    default:
      return value_;
  }
}

void Tile::Write(ByteWriter& to) const {
  to.U64(count_);
  switch (function_) {
    case Function::kCount:
      return;
    case Function::kSum:
    case Function::kMean:
      return sum_.Write(to);
    case Function::kStd:
      sum_.Write(to);
      return squares_.Write(to);
    case Function::kLast:
      to.I64(last_.event);
      to.I64(last_.known);
      to.I64(last_.sequence);
      return WriteValue(value_, to);
    case Function::kMin:
    case Function::kMax:
      return WriteValue(value_, to);
    case Function::kDistinct:
      to.U32(static_cast<uint32_t>(distinct_.size()));
      for (const Value& value : distinct_) WriteValue(value, to);
      return;
  }
}

Status Tile::ReadState(ByteReader& from) {
  if (function_ == Function::kSum || function_ == Function::kMean || function_ == Function::kStd) {
    for (ExactSum* sum : {&sum_, &squares_}) {
      if (sum == &squares_ && function_ != Function::kStd) break;
      Result<ExactSum> read = ExactSum::Read(from);
      FALAJ_RETURN_IF_ERROR(read.status());
      *sum = std::move(read).value();
    }
  } else if (function_ == Function::kDistinct) {
    for (uint32_t left = from.U32(); left > 0; --left) {
      Result<Value> read = ReadValue(kind_, from);
      FALAJ_RETURN_IF_ERROR(read.status());
      const bool ascends = distinct_.empty() || ValueLess()(*distinct_.rbegin(), *read);
      const Value same = Canonical(*read);
      if (IsNull(*read) || !ascends || ValueLess()(same, *read) || ValueLess()(*read, same))
        return InvalidInput("a tile: its distinct values are not in order");
      distinct_.insert(distinct_.end(), std::move(*read));
    }
    if (distinct_.size() > count_) return InvalidInput("a tile: has more distinct values than values");
  } else if (function_ != Function::kCount) {
    if (function_ == Function::kLast) last_ = {from.I64(), from.I64(), from.I64()};
    Result<Value> read = ReadValue(kind_, from);
    FALAJ_RETURN_IF_ERROR(read.status());
    value_ = std::move(*read);
    if (IsNull(value_) != (count_ == 0)) return InvalidInput("a tile: its value does not fit its count");
  }
  return Status::Ok();
}

Result<Tile> Tile::Read(Function function, Kind kind, ByteReader& from) {
  Tile tile(function, kind);
  tile.count_ = from.U64();
  FALAJ_RETURN_IF_ERROR(tile.ReadState(from));
  if (!from.ok()) return InvalidInput("a tile: its bytes are cut off");
  return tile;
}

}  // namespace falaj::join

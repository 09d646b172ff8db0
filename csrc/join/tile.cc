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
      return TakeExtreme(function_, value, value_);
    case Function::kLast:
      return TakeLast(value, at, value_, last_);
    case Function::kDistinct:
      distinct_.insert(Canonical(value));
      return;
  }
}

void Tile::Merge(const Tile& other) {
  count_ += other.count_;
  sum_.Merge(other.sum_);
  squares_.Merge(other.squares_);
  if (!IsNull(other.value_)) {
    function_ == Function::kLast ? TakeLast(other.value_, other.last_, value_, last_)
                                 : TakeExtreme(function_, other.value_, value_);
  }
  distinct_.insert(other.distinct_.begin(), other.distinct_.end());
}

Status Compute(Function function, Kind kind, uint64_t count, const ExactSum& sum, const ExactSum& squares,
               ValueView& value) {
  value = {};
  if (count == 0 || (function == Function::kStd && count == 1)) return Status::Ok();
  if (function == Function::kMean) {
    value = sum.Mean(count);
  } else if (function == Function::kStd) {
    value = SampleStd(count, sum, squares);
  } else if (kind == Kind::kFloat) {
    value = sum.Sum();
  } else {
    const auto integer = sum.Integer();
    if (!integer) return InvalidInput("a sum of integers is outside INT64; sum the column as FP64");
    value = *integer;
  }
  return Status::Ok();
}

Result<Value> Tile::Get() const {
  switch (function_) {
    case Function::kCount:
      return Value(static_cast<int64_t>(count_));
    case Function::kDistinct:
      return Value(static_cast<int64_t>(distinct_.size()));
    case Function::kSum:
    case Function::kMean:
    case Function::kStd: {
      ValueView value;
      FALAJ_RETURN_IF_ERROR(Compute(function_, kind_, count_, sum_, squares_, value));
      return Owned(value);
    }
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

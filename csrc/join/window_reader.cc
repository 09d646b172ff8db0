#include "join/window_reader.h"

#include <algorithm>

#include "join/window.h"

namespace falaj::join {
namespace {

bool IsSum(Function of) { return of == Function::kSum || of == Function::kMean || of == Function::kStd; }

bool IsExtreme(Function of) { return of == Function::kMin || of == Function::kMax; }

bool Same(const ValueView& a, const ValueView& b) { return !ValueLess()(a, b) && !ValueLess()(b, a); }

}  // namespace

void WindowReader::Merged::Clear() {
  count = 0;
  sum.Clear();
  squares.Clear();
  value = {};
  last = {};
  distinct.clear();
}

Status WindowReader::Read(const WindowSpec& spec, std::string_view bytes, int64_t time) {
  spec_ = &spec;
  if (merged_.size() < spec.aggregates.size()) merged_.resize(spec.aggregates.size());
  for (size_t i = 0; i < spec.aggregates.size(); ++i) merged_[i].Clear();
  if (!bytes.empty()) {
    ByteReader from(bytes);
    Result<StateHead> head = StateHead::Read(spec, from);
    FALAJ_RETURN_IF_ERROR(head.status());
    time = std::max(time, head->advanced);
    if (!ReadPending(from, time) || !ReadTiles(from, time))
      return InvalidInput("window state: its bytes are cut off or damaged");
  }
  return Finish();
}

bool WindowReader::ReadPending(ByteReader& from, int64_t time) {
  event_.resize(spec_->columns.size());
  for (uint32_t left = from.U32(); left > 0; --left) {
    const Moment at{from.I64(), from.I64(), from.I64()};
    for (size_t i = 0; i < event_.size(); ++i) {
      if (!ReadValue(spec_->columns[i], from, event_[i])) return false;
    }
    if (!from.ok()) return false;
    if (VisibleFrom(at, spec_->delay) <= time) AddEvent(at, time);
  }
  return from.ok();
}

void WindowReader::AddEvent(const Moment& at, int64_t time) {
  for (size_t i = 0; i < spec_->aggregates.size(); ++i) {
    const Aggregate& of = spec_->aggregates[i];
    Merged& to = merged_[i];
    if (TileOf(at.event, of.tile) < OldestTile(of, time)) continue;
    const ValueView value = of.column < 0 ? ValueView() : event_[static_cast<size_t>(of.column)];
    if (of.column >= 0 && IsNull(value)) continue;
    ++to.count;
    if (IsSum(of.function)) {
      const auto add = [&](auto number) {
        to.sum.Add(number);
        if (of.function == Function::kStd) to.squares.AddSquare(number);
      };
      if (const auto* integer = std::get_if<int64_t>(&value)) add(*integer);
      if (const auto* real = std::get_if<double>(&value)) add(*real);
    } else if (IsExtreme(of.function)) {
      TakeExtreme(of.function, value, to.value);
    } else if (of.function == Function::kLast) {
      TakeLast(value, at, to.value, to.last);
    } else if (of.function == Function::kDistinct) {
      to.distinct.push_back(Canonical(value));
    }
  }
}

bool WindowReader::ReadTiles(ByteReader& from, int64_t time) {
  for (size_t i = 0; i < spec_->aggregates.size(); ++i) {
    const Aggregate& of = spec_->aggregates[i];
    const int64_t oldest = OldestTile(of, time);
    for (uint32_t left = from.U32(); left > 0; --left) {
      const int64_t number = from.I64();
      if (!ReadTile(of, from, number >= oldest, merged_[i])) return false;
    }
  }
  return from.ok();
}

bool WindowReader::ReadTile(const Aggregate& of, ByteReader& from, bool needed, Merged& to) {
  const Kind kind = spec_->KindOf(of);
  const uint64_t count = from.U64();
  if (needed) to.count += count;
  if (IsSum(of.function)) {
    for (ExactSum* sum : {&to.sum, &to.squares}) {
      if (sum == &to.squares && of.function != Function::kStd) break;
      if (!needed) {
        ExactSum::Skip(from);
      } else if (!sum->MergeFrom(from)) {
        return false;
      }
    }
  } else if (of.function == Function::kDistinct) {
    for (uint32_t left = from.U32(); left > 0; --left) {
      ValueView value;
      if (!ReadValue(kind, from, value)) return false;
      if (needed) to.distinct.push_back(value);
    }
  } else if (of.function != Function::kCount) {
    Moment at;
    if (of.function == Function::kLast) at = {from.I64(), from.I64(), from.I64()};
    ValueView value;
    if (!ReadValue(kind, from, value) || IsNull(value)) return false;
    if (needed && of.function == Function::kLast) TakeLast(value, at, to.value, to.last);
    if (needed && IsExtreme(of.function)) TakeExtreme(of.function, value, to.value);
  }
  return from.ok();
}

Status WindowReader::Finish() {
  values_.clear();
  for (size_t i = 0; i < spec_->aggregates.size(); ++i) {
    const Aggregate& of = spec_->aggregates[i];
    Merged& found = merged_[i];
    ValueView value = found.value;
    if (of.function == Function::kCount) {
      value = static_cast<int64_t>(found.count);
    } else if (of.function == Function::kDistinct) {
      std::sort(found.distinct.begin(), found.distinct.end(), ValueLess());
      const auto end = std::unique(found.distinct.begin(), found.distinct.end(), Same);
      value = static_cast<int64_t>(end - found.distinct.begin());
    } else if (IsSum(of.function)) {
      FALAJ_RETURN_IF_ERROR(
          Compute(of.function, spec_->KindOf(of), found.count, found.sum, found.squares, value));
    }
    values_.push_back(value);
  }
  return Status::Ok();
}

}  // namespace falaj::join

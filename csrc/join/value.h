// A value of a feature's source, or null.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <variant>

#include "core/status.h"
#include "join/bytes.h"

namespace falaj::join {

enum class Kind : uint8_t { kInteger = 1, kFloat = 2, kText = 3 };  // booleans are 0 and 1

using Value = std::variant<std::monostate, int64_t, double, std::string>;  // in the order of Kind; null first

inline bool IsNull(const Value& value) { return value.index() == 0; }

// Integers in the order of IEEE 754's totalOrder of doubles: -NaN, -inf ... -0.0, 0.0 ... inf, NaN.
inline int64_t TotalOrder(double value) {
  const auto bits = std::bit_cast<int64_t>(value);
  return bits >= 0 ? bits : bits ^ std::numeric_limits<int64_t>::max();
}

// A total order: nulls, integers, doubles by TotalOrder, texts by their bytes.
struct ValueLess {
  bool operator()(const Value& a, const Value& b) const {
    if (a.index() != b.index()) return a.index() < b.index();
    if (const auto* of = std::get_if<double>(&a)) return TotalOrder(*of) < TotalOrder(std::get<double>(b));
    return a < b;
  }
};

// One value of those that count as the same: -0.0 is 0.0, and every NaN is one.
inline Value Canonical(const Value& value) {
  const auto* of = std::get_if<double>(&value);
  if (of == nullptr) return value;
  if (std::isnan(*of)) return std::numeric_limits<double>::quiet_NaN();
  return *of == 0 ? 0.0 : *of;
}

inline void WriteValue(const Value& value, ByteWriter& to) {
  to.U8(static_cast<uint8_t>(value.index()));
  if (const auto* integer = std::get_if<int64_t>(&value)) to.I64(*integer);
  if (const auto* real = std::get_if<double>(&value)) to.U64(std::bit_cast<uint64_t>(*real));
  if (const auto* text = std::get_if<std::string>(&value)) to.Text(*text);
}

// A value of `kind`, or null.
inline Result<Value> ReadValue(Kind kind, ByteReader& from) {
  const uint8_t index = from.U8();
  if (index != 0 && index != static_cast<uint8_t>(kind))
    return InvalidInput("a value: is not of its column's kind");
  const int64_t integer = index == 1 || index == 2 ? from.I64() : 0;
  const std::string_view text = index == 3 ? from.Text() : std::string_view();
  if (!from.ok()) return InvalidInput("a value: its bytes are cut off");
  if (index == 1) return Value(integer);
  if (index == 2) return Value(std::bit_cast<double>(integer));
  if (index == 3) return Value(std::string(text));
  return Value();
}

}  // namespace falaj::join

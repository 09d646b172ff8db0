// A value of a feature's source, or null.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>

#include "core/status.h"
#include "join/bytes.h"

namespace falaj::join {

enum class Kind : uint8_t { kInteger = 1, kFloat = 2, kText = 3 };  // booleans are 0 and 1

using Value = std::variant<std::monostate, int64_t, double, std::string>;  // in the order of Kind; null first

// Of which a text is somebody else's.
using ValueView = std::variant<std::monostate, int64_t, double, std::string_view>;

template <typename V>
bool IsNull(const V& value) {
  return value.index() == 0;
}

// Integers in the order of IEEE 754's totalOrder of doubles: -NaN, -inf ... -0.0, 0.0 ... inf, NaN.
inline int64_t TotalOrder(double value) {
  const auto bits = std::bit_cast<int64_t>(value);
  return bits >= 0 ? bits : bits ^ std::numeric_limits<int64_t>::max();
}

// A total order: nulls, integers, doubles by TotalOrder, texts by their bytes.
struct ValueLess {
  template <typename V>
  bool operator()(const V& a, const V& b) const {
    if (a.index() != b.index()) return a.index() < b.index();
    if (const auto* of = std::get_if<double>(&a)) return TotalOrder(*of) < TotalOrder(std::get<double>(b));
    return a < b;
  }
};

// One value of those that count as the same: -0.0 is 0.0, and every NaN is one.
template <typename V>
V Canonical(const V& value) {
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

// Reads a value of `kind`, or null; a text lies in the reader's bytes. False where there is none.
[[nodiscard]] inline bool ReadValue(Kind kind, ByteReader& from, ValueView& value) {
  const uint8_t index = from.U8();
  value = {};
  if (index != 0 && index != static_cast<uint8_t>(kind)) return false;
  if (index == 1) value = from.I64();
  if (index == 2) value = std::bit_cast<double>(from.I64());
  if (index == 3) value = from.Text();
  return from.ok();
}

inline Value Owned(const ValueView& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return std::string(*text);
  if (const auto* integer = std::get_if<int64_t>(&value)) return *integer;
  if (const auto* real = std::get_if<double>(&value)) return *real;
  return {};
}

inline Result<Value> ReadValue(Kind kind, ByteReader& from) {
  ValueView value;
  if (ReadValue(kind, from, value)) return Owned(value);
  return InvalidInput("a value: is cut off, or not of its column's kind");
}

}  // namespace falaj::join

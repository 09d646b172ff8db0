// Random tensors of every data type, with the memory that they stand on.
#pragma once

#include <array>
#include <cmath>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "core/half.h"
#include "core/tensor.h"

namespace falaj::wire::test {

inline constexpr std::array kAllTypes = {
    DataType::kBool, DataType::kUint8, DataType::kUint16, DataType::kUint32, DataType::kUint64,
    DataType::kInt8, DataType::kInt16, DataType::kInt32,  DataType::kInt64,  DataType::kFp16,
    DataType::kBf16, DataType::kFp32,  DataType::kFp64,   DataType::kBytes};

// A tensor that owns its elements; a view of it holds as long as it does.
class OwnedTensor {
 public:
  OwnedTensor(DataType type, const Shape& shape)
      : memory_(static_cast<size_t>(shape.Elements().value()) * ElementSize(type) + 16) {
    view = {type, shape, memory_.data()};
  }
  OwnedTensor(OwnedTensor&&) = default;

  void SetString(int64_t i, std::string text) {
    strings_.push_back(std::move(text));
    static_cast<std::string_view*>(view.data)[i] = strings_.back();
  }

  TensorView view;

 private:
  std::vector<std::byte> memory_;
  std::deque<std::string> strings_;
};

inline std::string RandomUtf8(std::mt19937_64& random) {
  static const std::vector<std::string> kPieces = {
      "a",          "\"", "\\",   "\n", "\t", std::string(1, '\0'), "\x1f", "ü", "€",
      "\U0001F41A", "/",  "\x7f", "{}", "\r"};
  std::string text;
  for (auto pieces = random() % 6; pieces > 0; --pieces) text += kPieces[random() % kPieces.size()];
  return text;
}

// Any bits for numbers (NaN only as the one that comes back from text), UTF-8 for strings.
inline OwnedTensor RandomTensor(std::mt19937_64& random, DataType type, const Shape& shape) {
  OwnedTensor made(type, shape);
  const int64_t n = shape.Elements().value();
  auto* bytes = static_cast<uint8_t*>(made.view.data);
  for (int64_t i = 0; i < n; ++i) {
    if (type == DataType::kBytes) {
      made.SetString(i, RandomUtf8(random));
      continue;
    }
    uint64_t bits = type == DataType::kBool ? random() % 2 : random();
    if (random() % 8 == 0) bits = type == DataType::kBool ? 0 : bits & 0xFF;
    const size_t size = ElementSize(type);
    std::memcpy(bytes + static_cast<size_t>(i) * size, &bits, size);
  }
  const auto quiet = [&](auto* values, auto is_nan, auto nan) {
    for (int64_t i = 0; i < n; ++i) {
      if (is_nan(values[i])) values[i] = nan;
    }
  };
  const auto is_nan = [](auto value) { return std::isnan(value); };
  if (type == DataType::kFp32) quiet(static_cast<float*>(made.view.data), is_nan, std::nanf(""));
  if (type == DataType::kFp64) quiet(static_cast<double*>(made.view.data), is_nan, std::nan(""));
  auto* halves = static_cast<uint16_t*>(made.view.data);
  if (type == DataType::kFp16) {
    quiet(
        halves, [](uint16_t v) { return std::isnan(FloatOfHalf(v)); }, uint16_t{0x7E00});
  }
  if (type == DataType::kBf16) {
    quiet(
        halves, [](uint16_t v) { return std::isnan(FloatOfBrain(v)); }, uint16_t{0x7FC0});
  }
  return made;
}

inline Shape RandomShape(std::mt19937_64& random) {
  std::vector<int64_t> dims(random() % 4);
  for (int64_t& dim : dims) dim = static_cast<int64_t>(random() % 5);
  return Shape(std::span<const int64_t>(dims));
}

inline bool Same(const TensorView& a, const TensorView& b) {
  if (a.type != b.type || !(a.shape == b.shape)) return false;
  if (a.type != DataType::kBytes) return a.bytes() == 0 || std::memcmp(a.data, b.data, a.bytes()) == 0;
  const auto* left = static_cast<const std::string_view*>(a.data);
  const auto* right = static_cast<const std::string_view*>(b.data);
  return std::equal(left, left + a.elements(), right);
}

}  // namespace falaj::wire::test

// Tensors as the core sees them: a typed, shaped window on memory that somebody else owns (TensorView), the
// memory itself (Buffer), and what a model says about a tensor before there is one (TensorSpec).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/data_type.h"
#include "core/status.h"

namespace falaj {

// Dimensions of a tensor, stored inline so that shaping a request allocates nothing. ONNX Runtime and NumPy
// stop at 64 and 32; no model of practice passes 8.
class Shape {
 public:
  static constexpr size_t kMaxRank = 8;

  Shape() = default;
  // REQUIRES: dims.size() <= kMaxRank
  explicit Shape(std::span<const int64_t> dims) : rank_(static_cast<uint8_t>(dims.size())) {
    for (size_t i = 0; i < dims.size(); ++i) dims_[i] = dims[i];
  }
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}

  size_t rank() const { return rank_; }
  int64_t operator[](size_t i) const { return dims_[i]; }
  int64_t& operator[](size_t i) { return dims_[i]; }
  std::span<const int64_t> dims() const { return {dims_.data(), rank_}; }

  // Product of the dimensions from `first` on; nothing where it overflows or a dimension is negative.
  std::optional<int64_t> Elements(size_t first = 0) const {
    int64_t product = 1;
    for (size_t i = first; i < rank_; ++i) {
      if (dims_[i] < 0 || __builtin_mul_overflow(product, dims_[i], &product)) return std::nullopt;
    }
    return product;
  }
  std::string ToString() const;  // "[2, 3]"

  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  uint8_t rank_ = 0;
};

// Row-major, contiguous. Owns nothing: whoever hands one out says how long it holds.
struct TensorView {
  DataType type = DataType::kFp32;
  Shape shape;
  void* data = nullptr;

  // REQUIRES: the shape's element count does not overflow (checked where the view was made)
  int64_t elements() const { return shape.Elements().value_or(0); }
  size_t bytes() const { return static_cast<size_t>(elements()) * ElementSize(type); }
};

// What a model expects or gives: -1 is a variable dimension; the shape includes the batch dimension.
struct TensorSpec {
  std::string name;
  DataType type = DataType::kFp32;
  std::vector<int64_t> shape;
  // Names of variable dimensions ("" where the model gives none): equal names are equal sizes.
  std::vector<std::string> symbols;
  // Names of the classes that a classifying output scores, by index; empty where none were given.
  std::vector<std::string> labels{};
  // An input that requests may leave out, or an output that is made for those who ask for it. Behind all
  // others, with a batch and no other variable dimension.
  bool optional = false;

  // The shape of so many rows. REQUIRES: only the first dimension is variable.
  Shape OfRows(int64_t rows) const {
    Shape whole(shape);
    whole[0] = rows;
    return whole;
  }
  std::string ToString() const;  // "FP32 [-1, 32]"
};

// Cache-line aligned memory that grows and never shrinks. Not thread-safe; owned by one object.
class Buffer {
 public:
  static constexpr size_t kAlignment = 64;

  Buffer() = default;
  // At least `bytes` bytes. The content is lost when it grows. Fails with kUnavailable when memory is out.
  Status Reserve(size_t bytes);
  std::byte* data() const { return data_.get(); }
  size_t capacity() const { return capacity_; }
  void Free() {
    data_.reset();
    capacity_ = 0;
  }

 private:
  struct Deleter {
    void operator()(std::byte* data) const;
  };
  std::unique_ptr<std::byte, Deleter> data_;
  size_t capacity_ = 0;
};

// a * b, or nothing where the product passes SIZE_MAX.
[[nodiscard]] inline std::optional<size_t> CheckedMultiply(size_t a, size_t b) {
  size_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

}  // namespace falaj

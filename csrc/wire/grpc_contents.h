// The data of one input in gRPC's typed form, InferTensorContents: a list of numbers, bools or strings in the
// field that goes with the data type.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/status.h"
#include "core/tensor.h"
#include "wire/json_path.h"

namespace falaj::wire {

// What an input's `contents` hold. There may be several of them, which merge: lists are joined.
struct ContentsCount {
  static constexpr size_t kFields = 8;
  std::array<int64_t, kFields + 1> elements{};  // by field number
  size_t characters = 0;                        // of its bytes_contents
};

// Reads through one `contents`, adding to `count`. Fails with InvalidInput where it is malformed.
Status CountContents(std::span<const std::byte> contents, const JsonPath& where, ContentsCount& count);

// Whether they are the data of a tensor. Fails with InvalidInput where the data is in another type's field,
// is more or less than the shape's, or `type` (FP16, BF16) has no field. REQUIRES: the shape's product fits
Status CheckContents(const ContentsCount& count, DataType type, const Shape& shape, const JsonPath& where);

// Writes the elements of one `contents` into `view` behind the `done` first ones, and advances `done`.
// Characters of BYTES elements are copied to `payload`, which is advanced. Fails with InvalidInput where a
// number is not in the type's range. REQUIRES: CheckContents succeeded for all of the input's contents
Status FillContents(std::span<const std::byte> contents, const TensorView& view, const JsonPath& where,
                    int64_t& done, std::byte*& payload);

}  // namespace falaj::wire

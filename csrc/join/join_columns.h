// Copies columns of feature values into the rows of tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/data_type.h"
#include "join/feature_columns.h"

namespace falaj {

// A column of a tensor: elements of `type`, `stride` bytes apart.
struct ColumnView {
  DataType type;
  std::byte* data;
  size_t stride;
};

// Copies `rows` elements, which lie without gaps. REQUIRES: the types are the same, or `to` is of FP32 or
// FP64 and `from` of numbers.
void CopyColumn(DataType from_type, const std::byte* from, size_t rows, const ColumnView& to);

// Sets the elements of the rows whose byte in `nulls` is not 0: to `missing` where the entity is not present,
// else to `null`. Both are an element's bytes, of BYTES a text that outlives the tensor.
void FillAbsent(std::span<const uint8_t> nulls, std::span<const Presence> status, const std::string& null,
                const std::string& missing, const ColumnView& to);

}  // namespace falaj

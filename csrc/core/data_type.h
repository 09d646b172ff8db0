// The data types of the Open Inference Protocol (V2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace falaj {

enum class DataType : uint8_t {
  kBool,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kFp16,
  kBf16,
  kFp32,
  kFp64,
  kBytes,
};

// Bytes of one element as a tensor holds it in memory. A BYTES element is a std::string_view whose
// characters live elsewhere, for as long as the owner of the tensor says.
[[nodiscard]] size_t ElementSize(DataType type);

// The protocol's name: "BOOL", "UINT8", ... "BYTES".
[[nodiscard]] const char* DataTypeName(DataType type);
[[nodiscard]] std::optional<DataType> ParseDataType(std::string_view name);

}  // namespace falaj

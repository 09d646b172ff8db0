#include "core/data_type.h"

#include <array>

namespace falaj {
namespace {

struct Row {
  const char* name;
  size_t size;
};

// In the order of the enumeration.
constexpr std::array<Row, 14> kTypes = {{
    {"BOOL", 1},
    {"UINT8", 1},
    {"UINT16", 2},
    {"UINT32", 4},
    {"UINT64", 8},
    {"INT8", 1},
    {"INT16", 2},
    {"INT32", 4},
    {"INT64", 8},
    {"FP16", 2},
    {"BF16", 2},
    {"FP32", 4},
    {"FP64", 8},
    {"BYTES", sizeof(std::string_view)},
}};

}  // namespace

size_t ElementSize(DataType type) { return kTypes[static_cast<size_t>(type)].size; }

const char* DataTypeName(DataType type) { return kTypes[static_cast<size_t>(type)].name; }

std::optional<DataType> ParseDataType(std::string_view name) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (name == kTypes[i].name) return static_cast<DataType>(i);
  }
  return std::nullopt;
}

}  // namespace falaj

#include "join/entity_key.h"

#include <cstring>

#include "join/bytes.h"

namespace falaj {
namespace {

template <typename T>
uint64_t Widened(const std::byte* data, size_t row) {
  return static_cast<uint64_t>(static_cast<int64_t>(join::Load<T>(data + row * sizeof(T))));
}

uint64_t IntegerAt(const ColumnData& column, size_t row) {
  switch (column.type) {
    case DataType::kInt8:
      return Widened<int8_t>(column.data, row);
    case DataType::kInt16:
      return Widened<int16_t>(column.data, row);
    case DataType::kInt32:
      return Widened<int32_t>(column.data, row);
    case DataType::kUint8:
      return Widened<uint8_t>(column.data, row);
    case DataType::kUint16:
      return Widened<uint16_t>(column.data, row);
    case DataType::kUint32:
      return Widened<uint32_t>(column.data, row);
    default:
      return Widened<uint64_t>(column.data, row);
  }
}

}  // namespace

bool EntityKey::Append(uint64_t value, size_t size) {
  if (kMaxBytes - size_ < size) return false;
  for (size_t i = size; i-- > 0;) bytes_[size_++] = static_cast<char>(value >> (8 * i));
  return true;
}

bool EntityKey::Encode(std::span<const ColumnData> keys, size_t row) {
  size_ = 0;
  for (const ColumnData& key : keys) {
    if (key.type != DataType::kBytes) {
      if (!Append(IntegerAt(key, row), 8)) return false;
      continue;
    }
    std::string_view text;
    std::memcpy(&text, key.data + row * sizeof(text), sizeof(text));
    if (text.size() > kMaxBytes || !Append(text.size(), 2) || kMaxBytes - size_ < text.size()) return false;
    if (!text.empty()) std::memcpy(bytes_.data() + size_, text.data(), text.size());
    size_ += text.size();
  }
  return true;
}

}  // namespace falaj

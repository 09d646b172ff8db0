#include "join/row_layout.h"

#include <cmath>
#include <cstring>

#include "join/bytes.h"

namespace falaj {
namespace {

using join::Load;

constexpr size_t kMaxRowBytes = size_t{1} << 30;

struct TextSlot {
  uint32_t offset;
  uint32_t length;
};

template <typename T>
int Order(const std::byte* a, const std::byte* b) {
  const T x = Load<T>(a), y = Load<T>(b);
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(x) || std::isnan(y))
      return static_cast<int>(std::isnan(x)) - static_cast<int>(std::isnan(y));
  }
  return static_cast<int>(x > y) - static_cast<int>(x < y);
}

int OrderOf(DataType type, const std::byte* a, const std::byte* b) {
  switch (type) {
    case DataType::kInt8:
      return Order<int8_t>(a, b);
    case DataType::kInt16:
      return Order<int16_t>(a, b);
    case DataType::kInt32:
      return Order<int32_t>(a, b);
    case DataType::kInt64:
      return Order<int64_t>(a, b);
    case DataType::kUint16:
      return Order<uint16_t>(a, b);
    case DataType::kUint32:
      return Order<uint32_t>(a, b);
    case DataType::kUint64:
      return Order<uint64_t>(a, b);
    case DataType::kFp32:
      return Order<float>(a, b);
    case DataType::kFp64:
      return Order<double>(a, b);
    default:
      return Order<uint8_t>(a, b);
  }
}

}  // namespace

RowLayout::RowLayout(std::span<const ColumnSpec> columns) : fixed_bytes_((columns.size() + 7) / 8) {
  for (const ColumnSpec& column : columns) {
    const size_t size = column.type == DataType::kBytes ? sizeof(TextSlot) : ElementSize(column.type);
    slots_.push_back({column.type, static_cast<uint32_t>(fixed_bytes_), static_cast<uint32_t>(size)});
    if (column.type == DataType::kBytes) texts_.push_back(static_cast<uint32_t>(fixed_bytes_));
    fixed_bytes_ += size;
  }
}

Status RowLayout::Encode(std::span<const ColumnData> columns, size_t row, std::vector<std::byte>& out) const {
  const size_t begin = out.size();
  out.resize(begin + fixed_bytes_);
  for (size_t i = 0; i < slots_.size(); ++i) {
    const ColumnData& column = columns[i];
    const Slot& slot = slots_[i];
    if (column.nulls != nullptr && column.nulls[row] != 0) {
      out[begin + i / 8] |= std::byte{1} << (i % 8);
    } else if (slot.type != DataType::kBytes) {
      std::memcpy(&out[begin + slot.offset], column.data + row * slot.size, slot.size);
    } else {
      const auto text = Load<std::string_view>(column.data + row * sizeof(std::string_view));
      const size_t offset = out.size() - begin;
      if (text.size() >= kMaxRowBytes || offset + text.size() >= kMaxRowBytes) {
        return InvalidInput("row " + std::to_string(row) + " takes more than the 1 GiB that a row may");
      }
      const TextSlot at{static_cast<uint32_t>(offset), static_cast<uint32_t>(text.size())};
      std::memcpy(&out[begin + slot.offset], &at, sizeof(at));
      const auto* characters = reinterpret_cast<const std::byte*>(text.data());
      out.insert(out.end(), characters, characters + text.size());
    }
  }
  return Status::Ok();
}

bool RowLayout::Fits(std::span<const std::byte> row) const {
  if (row.size() < fixed_bytes_) return false;
  for (const uint32_t offset : texts_) {
    const auto at = Load<TextSlot>(row.data() + offset);
    if (at.offset > row.size() || at.length > row.size() - at.offset) return false;
  }
  return true;
}

std::string_view RowLayout::Text(std::span<const std::byte> row, const Slot& slot) {
  const auto at = Load<TextSlot>(row.data() + slot.offset);
  return {reinterpret_cast<const char*>(row.data()) + at.offset, at.length};
}

int RowLayout::Compare(std::span<const std::byte> a, std::span<const std::byte> b) const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    int order = static_cast<int>(IsNull(a, i)) - static_cast<int>(IsNull(b, i));
    if (order == 0) {
      order = slot.type == DataType::kBytes ? Text(a, slot).compare(Text(b, slot))
                                            : OrderOf(slot.type, &a[slot.offset], &b[slot.offset]);
    }
    if (order != 0) return order;
  }
  // 0.0 and -0.0, and NaNs of other bits: any order, if always the same.
  const std::string_view x(reinterpret_cast<const char*>(a.data()), a.size());
  const std::string_view y(reinterpret_cast<const char*>(b.data()), b.size());
  return x.compare(y);
}

}  // namespace falaj

#include "join/join_columns.h"

#include <array>
#include <cstring>
#include <string_view>

namespace falaj {
namespace {

template <size_t kSize>
void CopyAs(const std::byte* from, size_t rows, std::byte* to, size_t stride) {
  for (size_t i = 0; i < rows; ++i) std::memcpy(to + i * stride, from + i * kSize, kSize);
}

template <typename From, typename To>
void Convert(const std::byte* from, size_t rows, std::byte* to, size_t stride) {
  for (size_t i = 0; i < rows; ++i) {
    From value;
    std::memcpy(&value, from + i * sizeof(From), sizeof(From));
    const To converted = static_cast<To>(value);
    std::memcpy(to + i * stride, &converted, sizeof(To));
  }
}

template <typename To>
void ConvertTo(DataType type, const std::byte* from, size_t rows, std::byte* to, size_t stride) {
  switch (type) {
    case DataType::kBool:
    case DataType::kUint8:
      return Convert<uint8_t, To>(from, rows, to, stride);
    case DataType::kUint16:
      return Convert<uint16_t, To>(from, rows, to, stride);
    case DataType::kUint32:
      return Convert<uint32_t, To>(from, rows, to, stride);
    case DataType::kUint64:
      return Convert<uint64_t, To>(from, rows, to, stride);
    case DataType::kInt8:
      return Convert<int8_t, To>(from, rows, to, stride);
    case DataType::kInt16:
      return Convert<int16_t, To>(from, rows, to, stride);
    case DataType::kInt32:
      return Convert<int32_t, To>(from, rows, to, stride);
    case DataType::kInt64:
      return Convert<int64_t, To>(from, rows, to, stride);
    case DataType::kFp32:
      return Convert<float, To>(from, rows, to, stride);
    case DataType::kFp64:
      return Convert<double, To>(from, rows, to, stride);
    default:
      return;  // no look-up has halves, and texts are never converted
  }
}

// The bytes of an element, of BYTES a view of `value`.
class Element {
 public:
  Element(DataType type, const std::string& value) {
    if (type == DataType::kBytes) {
      const std::string_view text(value);
      std::memcpy(bytes_.data(), &text, sizeof(text));
    } else {
      std::memcpy(bytes_.data(), value.data(), ElementSize(type));
    }
  }
  const std::byte* data() const { return bytes_.data(); }

 private:
  std::array<std::byte, sizeof(std::string_view)> bytes_{};
};

}  // namespace

void CopyColumn(DataType from_type, const std::byte* from, size_t rows, const ColumnView& to) {
  if (from_type != to.type) {
    return to.type == DataType::kFp32 ? ConvertTo<float>(from_type, from, rows, to.data, to.stride)
                                      : ConvertTo<double>(from_type, from, rows, to.data, to.stride);
  }
  switch (ElementSize(from_type)) {  // sizes as constants: one move instead of a call
    case 1:
      return CopyAs<1>(from, rows, to.data, to.stride);
    case 2:
      return CopyAs<2>(from, rows, to.data, to.stride);
    case 4:
      return CopyAs<4>(from, rows, to.data, to.stride);
    case 8:
      return CopyAs<8>(from, rows, to.data, to.stride);
    default:
      return CopyAs<sizeof(std::string_view)>(from, rows, to.data, to.stride);
  }
}

void FillAbsent(std::span<const uint8_t> nulls, std::span<const Presence> status, const std::string& null,
                const std::string& missing, const ColumnView& to) {
  const Element of_null(to.type, null), of_missing(to.type, missing);
  const size_t size = ElementSize(to.type);
  for (size_t i = 0; i < nulls.size(); ++i) {
    if (nulls[i] == 0) continue;
    const Element& value = status[i] == Presence::kPresent ? of_null : of_missing;
    std::memcpy(to.data + i * to.stride, value.data(), size);
  }
}

}  // namespace falaj

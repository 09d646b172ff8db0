#include "wire/binary_tensor.h"

#include <bit>
#include <cstring>
#include <limits>

namespace falaj::wire {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are copied as they lie in memory");

constexpr size_t kLengthBytes = sizeof(uint32_t);

// Calls `take` with the characters of each element.
template <typename Take>
Status ForEachString(std::span<const std::byte> blob, int64_t elements, Take take) {
  for (int64_t i = 0; i < elements; ++i) {
    uint32_t length = 0;
    if (blob.size() < kLengthBytes) {
      return InvalidInput("expected " + std::to_string(elements) + " BYTES elements, the data ends after " +
                          std::to_string(i));
    }
    std::memcpy(&length, blob.data(), kLengthBytes);
    blob = blob.subspan(kLengthBytes);
    if (length > blob.size()) {
      return InvalidInput("BYTES element " + std::to_string(i) + " says that it has " +
                          std::to_string(length) + " bytes, " + std::to_string(blob.size()) + " are left");
    }
    take(i, blob.first(length));
    blob = blob.subspan(length);
  }
  if (!blob.empty()) {
    return InvalidInput("expected " + std::to_string(elements) + " BYTES elements, " +
                        std::to_string(blob.size()) + " bytes are left over");
  }
  return Status::Ok();
}

Status CheckBools(std::span<const std::byte> blob) {
  for (size_t i = 0; i < blob.size(); ++i) {
    if (blob[i] > std::byte{1}) {
      return InvalidInput("BOOL element " + std::to_string(i) + ": expected 0 or 1, got " +
                          std::to_string(std::to_integer<int>(blob[i])));
    }
  }
  return Status::Ok();
}

}  // namespace

Result<size_t> CountCharacters(std::span<const std::byte> blob, int64_t elements) {
  size_t characters = 0;
  FALAJ_RETURN_IF_ERROR(ForEachString(
      blob, elements, [&](int64_t, std::span<const std::byte> string) { characters += string.size(); }));
  return characters;
}

Status CheckBinarySize(std::span<const std::byte> blob, DataType type, const Shape& shape) {
  const auto elements = static_cast<size_t>(shape.Elements().value_or(0));
  const auto bytes = CheckedMultiply(elements, ElementSize(type));
  if (bytes == blob.size()) return Status::Ok();
  return InvalidInput("expected " + (bytes ? std::to_string(*bytes) : "more") + " bytes for " +
                      DataTypeName(type) + " " + shape.ToString() + ", got " + std::to_string(blob.size()));
}

Status ReadBinary(std::span<const std::byte> blob, const TensorView& view, std::byte*& payload) {
  if (view.type == DataType::kBytes) {
    auto* to = static_cast<std::string_view*>(view.data);
    return ForEachString(blob, view.elements(), [&](int64_t i, std::span<const std::byte> string) {
      if (!string.empty()) std::memcpy(payload, string.data(), string.size());
      to[i] = {reinterpret_cast<const char*>(payload), string.size()};
      payload += string.size();
    });
  }
  FALAJ_RETURN_IF_ERROR(CheckBinarySize(blob, view.type, view.shape));
  if (view.type == DataType::kBool) FALAJ_RETURN_IF_ERROR(CheckBools(blob));
  if (!blob.empty()) std::memcpy(view.data, blob.data(), blob.size());
  return Status::Ok();
}

Status AdoptBinary(std::span<const std::byte> blob, const TensorView& view) {
  if (view.type == DataType::kBytes) {
    auto* to = static_cast<std::string_view*>(view.data);
    return ForEachString(blob, view.elements(), [&](int64_t i, std::span<const std::byte> string) {
      to[i] = {reinterpret_cast<const char*>(string.data()), string.size()};
    });
  }
  FALAJ_RETURN_IF_ERROR(CheckBinarySize(blob, view.type, view.shape));
  return view.type == DataType::kBool ? CheckBools(blob) : Status::Ok();
}

size_t BinaryBytes(const TensorView& view) {
  if (view.type != DataType::kBytes) return view.bytes();
  size_t bytes = 0;
  const auto* elements = static_cast<const std::string_view*>(view.data);
  for (int64_t i = 0; i < view.elements(); ++i) bytes += kLengthBytes + elements[i].size();
  return bytes;
}

void AppendBinary(const TensorView& view, std::string& out) {
  if (view.type != DataType::kBytes) {
    out.append(static_cast<const char*>(view.data), view.bytes());
    return;
  }
  const auto* elements = static_cast<const std::string_view*>(view.data);
  for (int64_t i = 0; i < view.elements(); ++i) {
    const auto length = static_cast<uint32_t>(elements[i].size());
    char prefix[kLengthBytes];
    std::memcpy(prefix, &length, kLengthBytes);
    out.append(prefix, kLengthBytes).append(elements[i]);
  }
}

void WriteBinary(const TensorView& view, std::byte* to) {
  if (view.type != DataType::kBytes) {
    if (view.bytes() > 0) std::memcpy(to, view.data, view.bytes());
    return;
  }
  const auto* elements = static_cast<const std::string_view*>(view.data);
  for (int64_t i = 0; i < view.elements(); ++i) {
    const auto length = static_cast<uint32_t>(elements[i].size());
    std::memcpy(to, &length, kLengthBytes);
    if (length > 0) std::memcpy(to + kLengthBytes, elements[i].data(), length);
    to += kLengthBytes + length;
  }
}

}  // namespace falaj::wire

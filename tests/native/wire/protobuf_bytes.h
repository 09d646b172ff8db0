// Protobuf messages written by hand, byte by byte, so that tests can write them in unusual ways too.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

#include "wire/protobuf_reader.h"

namespace falaj::wire::test {

// `least` bytes at least, which is longer than need be.
inline std::string Varint(uint64_t value, size_t least = 1) {
  std::string bytes;
  while (value >= 0x80 || bytes.size() + 1 < least) {
    bytes.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

inline std::string Tag(uint32_t number, WireType type) { return Varint(TagOf(number, type)); }

inline std::string Bytes(uint32_t number, std::string_view content) {
  return Tag(number, WireType::kBytes) + Varint(content.size()) + std::string(content);
}

inline std::string Number(uint32_t number, uint64_t value) {
  return Tag(number, WireType::kVarint) + Varint(value);
}

// As they lie in memory.
template <typename T>
std::string Lying(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

template <typename T>
std::string Fixed(uint32_t number, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  return Tag(number, sizeof(T) == 4 ? WireType::kFixed32 : WireType::kFixed64) + Lying({value});
}

inline std::string Packed(uint32_t number, std::initializer_list<int64_t> values) {
  std::string content;
  for (const int64_t value : values) content += Varint(static_cast<uint64_t>(value));
  return Bytes(number, content);
}

}  // namespace falaj::wire::test

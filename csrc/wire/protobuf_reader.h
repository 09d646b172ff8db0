// A cursor over protobuf wire bytes. It takes and refuses what libprotobuf does, but for groups, which proto3
// does not have: they are refused even where they could be stepped over.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/status.h"
#include "wire/json_path.h"

namespace falaj::wire {

static_assert(std::endian::native == std::endian::little, "fixed-width values are copied as they lie");

enum class WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Field number and wire type as one number, the tag before a field's value: one `switch` finds the fields
// that come as they should, and its default steps over the rest (proto3 counts a wrong wire type as unknown).
constexpr uint32_t TagOf(uint32_t number, WireType type) { return number << 3 | static_cast<uint32_t>(type); }

struct ProtobufField {
  uint32_t tag = 0;
  uint64_t value = 0;                // of a varint; the bits of a fixed-width one
  std::span<const std::byte> bytes;  // of WireType::kBytes, in the message
};

// Views its bytes. Never throws, never reads outside of them; the first fault ends it.
class ProtobufReader {
 public:
  explicit ProtobufReader(std::span<const std::byte> bytes)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  // Reads the next field of a message. False at its end and where it is malformed; fault() tells them apart.
  bool Next(ProtobufField& field);

  // The values of packed fields: false at the end and at a fault, as above.
  bool Varint(uint64_t& value);
  template <typename T>
  bool Fixed(T& value);

  // What is malformed; null: nothing yet.
  const char* fault() const { return fault_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }  // bytes

 private:
  static constexpr int kMostVarintBytes = 10;
  static constexpr int kMostTagBytes = 5;  // longer ones are refused, whatever their value; sizes too

  bool Fail(const char* fault) {
    fault_ = fault;
    at_ = end_;
    return false;
  }
  bool ReadVarint(int most_bytes, uint64_t& value);
  bool ReadBytes(std::span<const std::byte>& bytes);

  const std::byte* at_;
  const std::byte* const end_;
  const char* fault_ = nullptr;
};

// Bits past the 64th are dropped.
inline bool ProtobufReader::ReadVarint(int most_bytes, uint64_t& value) {
  if (at_ != end_ && *at_ < std::byte{0x80}) {
    value = std::to_integer<uint64_t>(*at_++);
    return true;
  }
  uint64_t bits = 0;
  for (int i = 0; i < most_bytes; ++i) {
    if (at_ == end_) return Fail("it ends within a number");
    const auto byte = std::to_integer<uint64_t>(*at_++);
    bits |= (byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      value = bits;
      return true;
    }
  }
  return Fail("a number is too long");
}

inline bool ProtobufReader::ReadBytes(std::span<const std::byte>& bytes) {
  uint64_t size = 0;
  if (!ReadVarint(kMostTagBytes, size)) return false;
  if (size > left()) return Fail("a field is longer than what it is in");
  bytes = {at_, size};
  at_ += size;
  return true;
}

template <typename T>
bool ProtobufReader::Fixed(T& value) {
  if (at_ == end_) return false;
  if (left() < sizeof(T)) return Fail("it ends within a number");
  std::memcpy(&value, at_, sizeof(T));
  at_ += sizeof(T);
  return true;
}

inline bool ProtobufReader::Varint(uint64_t& value) {
  return at_ != end_ && ReadVarint(kMostVarintBytes, value);
}

inline bool ProtobufReader::Next(ProtobufField& field) {
  if (at_ == end_) return false;
  uint64_t tag = 0;
  if (!ReadVarint(kMostTagBytes, tag)) return false;
  field.tag = static_cast<uint32_t>(tag);
  if (field.tag >> 3 == 0) return Fail("a field has the number 0");
  switch (static_cast<WireType>(field.tag & 7)) {
    case WireType::kVarint:
      return ReadVarint(kMostVarintBytes, field.value);
    case WireType::kFixed64:
      return Fixed(field.value) || Fail("it ends within a number");
    case WireType::kBytes:
      return ReadBytes(field.bytes);
    case WireType::kFixed32: {
      uint32_t bits = 0;
      if (!Fixed(bits)) return Fail("it ends within a number");
      field.value = bits;
      return true;
    }
  }
  return Fail("a field is of a kind that proto3 does not have");
}

// Calls `read(field)` for every field of a message, until one fails.
template <typename Read>
Status ForEachField(std::span<const std::byte> message, const JsonPath& where, Read read) {
  ProtobufReader reader(message);
  ProtobufField field;
  while (reader.Next(field)) FALAJ_RETURN_IF_ERROR(read(field));
  if (reader.fault() == nullptr) return Status::Ok();
  return InvalidInput(where + ": malformed protobuf: " + reader.fault());
}

}  // namespace falaj::wire

#include "wire/grpc_contents.h"

#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "wire/protobuf_reader.h"

namespace falaj::wire {
namespace {

enum ContentsField : uint32_t {
  kNone = 0,
  kBools = 1,
  kInts = 2,
  kInt64s = 3,
  kUints = 4,
  kUint64s = 5,
  kFp32s = 6,
  kFp64s = 7,
  kStrings = 8,
};

constexpr std::array<const char*, ContentsCount::kFields + 1> kFieldNames = {"",
                                                                             "bool_contents",
                                                                             "int_contents",
                                                                             "int64_contents",
                                                                             "uint_contents",
                                                                             "uint64_contents",
                                                                             "fp32_contents",
                                                                             "fp64_contents",
                                                                             "bytes_contents"};

ContentsField FieldOf(DataType type) {
  switch (type) {
    case DataType::kBool:
      return kBools;
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
      return kInts;
    case DataType::kInt64:
      return kInt64s;
    case DataType::kUint8:
    case DataType::kUint16:
    case DataType::kUint32:
      return kUints;
    case DataType::kUint64:
      return kUint64s;
    case DataType::kFp32:
      return kFp32s;
    case DataType::kFp64:
      return kFp64s;
    case DataType::kBytes:
      return kStrings;
    case DataType::kFp16:
    case DataType::kBf16:
      break;
  }
  return kNone;
}

// How one element comes when it is not packed with others.
WireType WireTypeOf(uint32_t field) {
  if (field == kFp32s) return WireType::kFixed32;
  if (field == kFp64s) return WireType::kFixed64;
  return field == kStrings ? WireType::kBytes : WireType::kVarint;
}

// Elements of a packed field; -1 where it is malformed.
int64_t CountPacked(std::span<const std::byte> packed, WireType type) {
  if (type != WireType::kVarint) {
    const size_t width = type == WireType::kFixed32 ? sizeof(uint32_t) : sizeof(uint64_t);
    return packed.size() % width == 0 ? static_cast<int64_t>(packed.size() / width) : -1;
  }
  ProtobufReader reader(packed);
  uint64_t value = 0;
  int64_t count = 0;
  while (reader.Varint(value)) ++count;
  return reader.fault() == nullptr ? count : -1;
}

// What protobuf makes of a varint in a field of the C++ type Wire, as a tensor's element.
template <typename Wire, typename T>
struct Whole {
  using Element = T;
  static bool Convert(uint64_t bits, T& to) {
    if constexpr (std::is_same_v<Wire, bool>) {
      to = bits != 0 ? 1 : 0;
      return true;
    } else {
      const auto value = static_cast<Wire>(bits);
      to = static_cast<T>(value);
      return std::in_range<T>(value);
    }
  }
  // For an error.
  static std::string Text(uint64_t bits) { return std::to_string(static_cast<Wire>(bits)); }
};

// One input's elements as they are written.
struct Target {
  const TensorView& view;
  const JsonPath& where;  // of the field
  int64_t& done;
  const int64_t total;

  Status TooMany() const {
    return InvalidInput(where + ": expected " + std::to_string(total) + " elements for shape " +
                        view.shape.ToString() + ", got more");
  }
};

template <typename Convert>
Status PutWhole(const Target& target, uint64_t bits) {
  if (target.done == target.total) return target.TooMany();
  if (Convert::Convert(bits, static_cast<typename Convert::Element*>(target.view.data)[target.done])) {
    ++target.done;
    return Status::Ok();
  }
  return InvalidInput(target.where.At(static_cast<size_t>(target.done)) + ": expected " +
                      DataTypeName(target.view.type) + ", got " + Convert::Text(bits) +
                      ", which is out of its range");
}

template <typename Convert>
Status FillWhole(const Target& target, const ProtobufField& field, bool packed) {
  if (!packed) return PutWhole<Convert>(target, field.value);
  ProtobufReader reader(field.bytes);
  uint64_t bits = 0;
  while (reader.Varint(bits)) FALAJ_RETURN_IF_ERROR(PutWhole<Convert>(target, bits));
  return Status::Ok();
}

// Floats lie in the message as they lie in a tensor.
template <typename Bits>
Status FillFixed(const Target& target, const ProtobufField& field, bool packed) {
  const auto bits = static_cast<Bits>(field.value);
  const std::span<const std::byte> from = packed ? field.bytes : std::as_bytes(std::span(&bits, 1));
  const auto count = static_cast<int64_t>(from.size() / sizeof(Bits));
  if (count > target.total - target.done) return target.TooMany();
  if (count > 0) std::memcpy(static_cast<Bits*>(target.view.data) + target.done, from.data(), from.size());
  target.done += count;
  return Status::Ok();
}

Status FillString(const Target& target, const ProtobufField& field, std::byte*& payload) {
  if (target.done == target.total) return target.TooMany();
  if (!field.bytes.empty()) std::memcpy(payload, field.bytes.data(), field.bytes.size());
  static_cast<std::string_view*>(target.view.data)[target.done++] = {reinterpret_cast<const char*>(payload),
                                                                     field.bytes.size()};
  payload += field.bytes.size();
  return Status::Ok();
}

Status FillField(const Target& target, const ProtobufField& field, bool packed, std::byte*& payload) {
  switch (target.view.type) {
    case DataType::kBool:
      return FillWhole<Whole<bool, uint8_t>>(target, field, packed);
    case DataType::kInt8:
      return FillWhole<Whole<int32_t, int8_t>>(target, field, packed);
    case DataType::kInt16:
      return FillWhole<Whole<int32_t, int16_t>>(target, field, packed);
    case DataType::kInt32:
      return FillWhole<Whole<int32_t, int32_t>>(target, field, packed);
    case DataType::kInt64:
      return FillWhole<Whole<int64_t, int64_t>>(target, field, packed);
    case DataType::kUint8:
      return FillWhole<Whole<uint32_t, uint8_t>>(target, field, packed);
    case DataType::kUint16:
      return FillWhole<Whole<uint32_t, uint16_t>>(target, field, packed);
    case DataType::kUint32:
      return FillWhole<Whole<uint32_t, uint32_t>>(target, field, packed);
    case DataType::kUint64:
      return FillWhole<Whole<uint64_t, uint64_t>>(target, field, packed);
    case DataType::kFp32:
      return FillFixed<uint32_t>(target, field, packed);
    case DataType::kFp64:
      return FillFixed<uint64_t>(target, field, packed);
    case DataType::kBytes:
      return FillString(target, field, payload);
    case DataType::kFp16:
    case DataType::kBf16:
      break;
  }
  return Internal("a data type without typed contents");
}

}  // namespace

Status CountContents(std::span<const std::byte> contents, const JsonPath& where, ContentsCount& count) {
  return ForEachField(contents, where, [&](const ProtobufField& field) {
    const uint32_t number = field.tag >> 3;
    if (number > ContentsCount::kFields) return Status::Ok();
    const WireType type = WireTypeOf(number);
    if (field.tag == TagOf(number, type)) {
      ++count.elements[number];
      if (number == kStrings) count.characters += field.bytes.size();
    } else if (field.tag == TagOf(number, WireType::kBytes)) {
      const int64_t packed = CountPacked(field.bytes, type);
      if (packed < 0) return InvalidInput(where.Key(kFieldNames[number]) + ": malformed protobuf");
      count.elements[number] += packed;
    }
    return Status::Ok();
  });
}

Status CheckContents(const ContentsCount& count, DataType type, const Shape& shape, const JsonPath& where) {
  const ContentsField expected = FieldOf(type);
  const int64_t elements = *shape.Elements();
  uint32_t other = kNone;
  for (uint32_t field = ContentsCount::kFields; field > 0; --field) {
    if (field != expected && count.elements[field] > 0) other = field;
  }
  if (expected == kNone && (other != kNone || elements > 0)) {
    return InvalidInput(where + ": " + DataTypeName(type) +
                        " has no typed contents, it travels in raw_input_contents");
  }
  if (other != kNone) {
    return InvalidInput(where + ": expected " + kFieldNames[expected] + " for " + DataTypeName(type) +
                        ", got " + kFieldNames[other]);
  }
  if (count.elements[expected] == elements) return Status::Ok();
  return InvalidInput(where.Key(kFieldNames[expected]) + ": expected " + std::to_string(elements) +
                      " elements for shape " + shape.ToString() + ", got " +
                      std::to_string(count.elements[expected]));
}

Status FillContents(std::span<const std::byte> contents, const TensorView& view, const JsonPath& where,
                    int64_t& done, std::byte*& payload) {
  const ContentsField number = FieldOf(view.type);
  if (number == kNone) return Status::Ok();
  const uint32_t single = TagOf(number, WireTypeOf(number));
  const JsonPath path = where.Key(kFieldNames[number]);
  const Target target{view, path, done, view.elements()};
  return ForEachField(contents, where, [&](const ProtobufField& field) {
    if (field.tag == single) return FillField(target, field, /*packed=*/false, payload);
    if (field.tag != TagOf(number, WireType::kBytes)) return Status::Ok();
    return FillField(target, field, /*packed=*/true, payload);
  });
}

}  // namespace falaj::wire

#include "wire/grpc_parameter.h"

#include <string>

#include "wire/utf8.h"

namespace falaj::wire {
namespace {

// Fields of a map's entry, and of InferParameter (a oneof: its last field counts).
constexpr uint32_t kKey = TagOf(1, WireType::kBytes);
constexpr uint32_t kValue = TagOf(2, WireType::kBytes);
constexpr uint32_t kBoolParam = TagOf(1, WireType::kVarint);
constexpr uint32_t kInt64Param = TagOf(2, WireType::kVarint);
constexpr uint32_t kStringParam = TagOf(3, WireType::kBytes);
constexpr uint32_t kDoubleParam = TagOf(4, WireType::kFixed64);
constexpr uint32_t kUint64Param = TagOf(5, WireType::kVarint);

using Kind = GrpcParameter::Kind;

// Adds to `value`: an entry's values merge.
Status ReadValue(std::span<const std::byte> message, const JsonPath& where, GrpcParameter& value) {
  return ForEachField(message, where, [&](const ProtobufField& field) {
    switch (field.tag) {
      case kBoolParam:
        value = {Kind::kBool, field.value, {}};
        break;
      case kInt64Param:
        value = {Kind::kInt64, field.value, {}};
        break;
      case kStringParam:
        value = {Kind::kString, 0, {}};
        return ReadGrpcText(field, where, value.text);
      case kDoubleParam:
        value = {Kind::kDouble, field.value, {}};
        break;
      case kUint64Param:
        value = {Kind::kUint64, field.value, {}};
        break;
      default:
        break;
    }
    return Status::Ok();
  });
}

}  // namespace

Status ReadGrpcText(const ProtobufField& field, const JsonPath& where, std::string_view& text) {
  const std::string_view read(reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size());
  if (!IsUtf8(read)) return InvalidInput(where + ": expected UTF-8");
  text = read;
  return Status::Ok();
}

Status GrpcParameter::ReadCount(const JsonPath& where, int64_t& count) const {
  if (kind == Kind::kAbsent) return Status::Ok();
  // Of either signedness: what one cannot hold of the other has the top bit set.
  if ((kind != Kind::kInt64 && kind != Kind::kUint64) || bits > static_cast<uint64_t>(INT64_MAX)) {
    return InvalidInput(where + ": expected a whole number of 0 or more");
  }
  count = static_cast<int64_t>(bits);
  return Status::Ok();
}

Status GrpcParameter::ReadBool(const JsonPath& where, bool& flag) const {
  if (kind == Kind::kAbsent) return Status::Ok();
  if (kind != Kind::kBool) return InvalidInput(where + ": expected true or false");
  flag = bits != 0;
  return Status::Ok();
}

Status GrpcParameter::ReadText(const JsonPath& where, std::string_view& read) const {
  if (kind == Kind::kAbsent) return Status::Ok();
  if (kind != Kind::kString) return InvalidInput(where + ": expected a string");
  read = text;
  return Status::Ok();
}

Status ReadGrpcParameter(std::span<const std::byte> entry, const JsonPath& where, size_t max_key_bytes,
                         GrpcParameterEntry& read) {
  read = {{}, {Kind::kUnset, 0, {}}};
  FALAJ_RETURN_IF_ERROR(ForEachField(entry, where, [&](const ProtobufField& field) {
    switch (field.tag) {
      case kKey:
        return ReadGrpcText(field, where, read.key);
      case kValue:
        return ReadValue(field.bytes, where, read.value);
      default:
        return Status::Ok();
    }
  }));
  if (read.key.size() <= max_key_bytes) return Status::Ok();
  return InvalidInput(where + ": a key of " + std::to_string(read.key.size()) + " bytes is too long");
}

}  // namespace falaj::wire

// The parameters of a gRPC request: entries of the map<string, InferParameter> that the request, an input and
// an output have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/status.h"
#include "wire/json_path.h"
#include "wire/protobuf_reader.h"

namespace falaj::wire {

// A string field's characters, in the message. Fails with InvalidInput where they are not UTF-8;
// `text` is then as before.
Status ReadGrpcText(const ProtobufField& field, const JsonPath& where, std::string_view& text);

// A parameter's value.
struct GrpcParameter {
  enum class Kind : uint8_t { kAbsent, kUnset, kBool, kInt64, kString, kDouble, kUint64 };
  Kind kind = Kind::kAbsent;  // of the parameter itself; kUnset: it is there without a value
  uint64_t bits = 0;
  std::string_view text;  // of a string, in the message

  // What an absent parameter leaves as it is. Fail with InvalidInput where the value is of another kind.
  Status ReadCount(const JsonPath& where, int64_t& count) const;
  Status ReadBool(const JsonPath& where, bool& flag) const;
  Status ReadText(const JsonPath& where, std::string_view& read) const;
};

struct GrpcParameterEntry {
  std::string_view key;
  GrpcParameter value;
};

// Reads one entry of a map; of several with one key the last counts, which is for the caller to see to.
// `where` is the map's. Fails with InvalidInput.
Status ReadGrpcParameter(std::span<const std::byte> entry, const JsonPath& where, size_t max_key_bytes,
                         GrpcParameterEntry& read);

}  // namespace falaj::wire

#include "inference_reference.h"

#include <google/protobuf/unknown_field_set.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

namespace falaj::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

// A message's fields by their names.
class Fields {
 public:
  explicit Fields(const Message& message) : message_(message), reflection_(*message.GetReflection()) {}

  bool Has(const char* name) const { return reflection_.HasField(message_, Field(name)); }
  std::string Text(const char* name) const { return reflection_.GetString(message_, Field(name)); }
  const Message& Inner(const char* name) const { return reflection_.GetMessage(message_, Field(name)); }
  int Count(const char* name) const { return reflection_.FieldSize(message_, Field(name)); }
  const Message& Item(const char* name, int i) const {
    return reflection_.GetRepeatedMessage(message_, Field(name), i);
  }
  std::string TextItem(const char* name, int i) const {
    return reflection_.GetRepeatedString(message_, Field(name), i);
  }
  // The last entry of each key.
  std::map<std::string, const Message*> Map(const char* name) const {
    std::map<std::string, const Message*> map;
    for (int i = 0; i < Count(name); ++i) {
      const Fields entry(Item(name, i));
      map[entry.Text("key")] = &entry.Inner("value");
    }
    return map;
  }
  // A number's bytes as they lie in memory, and its value where it is whole.
  std::string NumberBytes(const char* name, int i, size_t width, __int128& value) const {
    const FieldDescriptor* field = Field(name);
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        value = reflection_.GetRepeatedBool(message_, field, i);
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        value = reflection_.GetRepeatedInt32(message_, field, i);
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        value = reflection_.GetRepeatedInt64(message_, field, i);
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        value = reflection_.GetRepeatedUInt32(message_, field, i);
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        value = reflection_.GetRepeatedUInt64(message_, field, i);
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        return BytesOf(reflection_.GetRepeatedFloat(message_, field, i), width);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return BytesOf(reflection_.GetRepeatedDouble(message_, field, i), width);
      default:
        std::abort();
    }
    return BytesOf(value, width);
  }

 private:
  template <typename T>
  static std::string BytesOf(T value, size_t width) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    bytes.resize(width);
    return bytes;
  }
  const FieldDescriptor* Field(const char* name) const {
    return message_.GetDescriptor()->FindFieldByName(name);
  }

  const Message& message_;
  const Reflection& reflection_;
};

bool HasGroup(const Message& message) {
  const UnknownFieldSet& unknown = message.GetReflection()->GetUnknownFields(message);
  for (int i = 0; i < unknown.field_count(); ++i) {
    if (unknown.field(i).type() == UnknownField::TYPE_GROUP) return true;
  }
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const Reflection& reflection = *message.GetReflection();
    if (!field->is_repeated()) {
      if (HasGroup(reflection.GetMessage(message, field))) return true;
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      if (HasGroup(reflection.GetRepeatedMessage(message, field, i))) return true;
    }
  }
  return false;
}

struct TypeRule {
  const char* name;
  size_t width;
  const char* contents;  // null: none
  __int128 least = 0, most = 0;
};

const TypeRule kTypes[] = {{"BOOL", 1, "bool_contents", 0, 1},
                           {"INT8", 1, "int_contents", -128, 127},
                           {"INT16", 2, "int_contents", -32768, 32767},
                           {"INT32", 4, "int_contents", INT32_MIN, INT32_MAX},
                           {"INT64", 8, "int64_contents", INT64_MIN, INT64_MAX},
                           {"UINT8", 1, "uint_contents", 0, 255},
                           {"UINT16", 2, "uint_contents", 0, 65535},
                           {"UINT32", 4, "uint_contents", 0, UINT32_MAX},
                           {"UINT64", 8, "uint64_contents", 0, UINT64_MAX},
                           {"FP16", 2, nullptr},
                           {"BF16", 2, nullptr},
                           {"FP32", 4, "fp32_contents"},
                           {"FP64", 8, "fp64_contents"},
                           {"BYTES", 0, "bytes_contents"}};

const char* const kContents[] = {"bool_contents",   "int_contents",  "int64_contents", "uint_contents",
                                 "uint64_contents", "fp32_contents", "fp64_contents",  "bytes_contents"};

// The first rule that does not hold is kept.
class Rules {
 public:
  void Require(bool holds, const char* rule) {
    if (!holds && broken_.empty()) broken_ = rule;
  }
  const std::string& broken() const { return broken_; }

 private:
  std::string broken_;
};

// A whole number of 0 or more, or `absent`.
int64_t CountOf(const std::map<std::string, const Message*>& parameters, const char* key, int64_t absent,
                Rules& rules) {
  const auto found = parameters.find(key);
  if (found == parameters.end()) return absent;
  const Message& value = *found->second;
  const Reflection& reflection = *value.GetReflection();
  if (Fields(value).Has("int64_param")) {
    const int64_t count = reflection.GetInt64(value, value.GetDescriptor()->FindFieldByName("int64_param"));
    rules.Require(count >= 0, "a count is negative");
    return count;
  }
  if (Fields(value).Has("uint64_param")) {
    const uint64_t count =
        reflection.GetUInt64(value, value.GetDescriptor()->FindFieldByName("uint64_param"));
    rules.Require(count <= INT64_MAX, "a count is too large");
    return static_cast<int64_t>(count);
  }
  rules.Require(false, "a count is not a whole number");
  return absent;
}

std::optional<bool> TruthOf(const std::map<std::string, const Message*>& parameters, const char* key,
                            Rules& rules) {
  const auto found = parameters.find(key);
  if (found == parameters.end()) return std::nullopt;
  const Message& value = *found->second;
  rules.Require(Fields(value).Has("bool_param"), "a truth is not a bool");
  return value.GetReflection()->GetBool(value, value.GetDescriptor()->FindFieldByName("bool_param"));
}

void ReadSequence(const std::map<std::string, const Message*>& parameters, const ReferenceLimits& limits,
                  Rules& rules, ReferenceRequest& read) {
  read.sequence_start = TruthOf(parameters, "sequence_start", rules).value_or(false);
  read.sequence_end = TruthOf(parameters, "sequence_end", rules).value_or(false);
  const auto found = parameters.find("sequence_id");
  if (found == parameters.end()) return;
  const Fields id(*found->second);
  if (id.Has("string_param")) {
    read.sequence_text = id.Text("string_param");
    rules.Require(read.sequence_text.size() <= limits.name_bytes, "a sequence's id is too long");
  } else if (id.Has("uint64_param")) {
    read.sequence_number = found->second->GetReflection()->GetUInt64(
        *found->second, found->second->GetDescriptor()->FindFieldByName("uint64_param"));
  } else {
    read.sequence_number = static_cast<uint64_t>(CountOf(parameters, "sequence_id", 0, rules));
  }
}

void CheckKeys(const std::map<std::string, const Message*>& parameters, const ReferenceLimits& limits,
               Rules& rules) {
  for (const auto& [key, value] : parameters) {
    rules.Require(key.size() <= limits.name_bytes, "a key is too long");
  }
}

bool IsShared(const std::map<std::string, const Message*>& parameters) {
  return parameters.contains("shared_memory_region") || parameters.contains("shared_memory_offset") ||
         parameters.contains("shared_memory_byte_size");
}

std::optional<ReferencePlace> PlaceOf(const std::map<std::string, const Message*>& parameters,
                                      const ReferenceLimits& limits, Rules& rules) {
  if (!IsShared(parameters)) return std::nullopt;
  ReferencePlace place;
  const auto region = parameters.find("shared_memory_region");
  rules.Require(region != parameters.end(), "a place in shared memory without its region");
  rules.Require(parameters.contains("shared_memory_byte_size"), "a place in shared memory without its size");
  if (region != parameters.end()) {
    rules.Require(Fields(*region->second).Has("string_param"), "a region is not a text");
    place.region = Fields(*region->second).Text("string_param");
    rules.Require(!place.region.empty() && place.region.size() <= limits.name_bytes, "a region's name");
  }
  place.offset = CountOf(parameters, "shared_memory_offset", 0, rules);
  place.bytes = CountOf(parameters, "shared_memory_byte_size", 0, rules);
  return place;
}

bool IsName(const std::string& name, const ReferenceLimits& limits) {
  return !name.empty() && name.size() <= limits.name_bytes;
}

void CheckRaw(const std::string& raw, const TypeRule& type, __int128 elements, Rules& rules) {
  if (type.width > 0) {
    rules.Require(static_cast<__int128>(raw.size()) == elements * static_cast<__int128>(type.width),
                  "raw contents are not as long as the shape says");
    for (const char byte : raw) {
      rules.Require(std::string(type.name) != "BOOL" || byte == 0 || byte == 1, "a BOOL is neither 0 nor 1");
    }
    return;
  }
  size_t at = 0;
  for (; elements > 0 && at + 4 <= raw.size(); --elements) {
    uint32_t length = 0;
    std::memcpy(&length, &raw[at], 4);
    if (length > raw.size() - at - 4) break;
    at += 4 + length;
  }
  rules.Require(elements == 0 && at == raw.size(), "lengths of BYTES elements do not add up");
}

std::string TypedData(const Message& message, const TypeRule& type, __int128 elements, Rules& rules) {
  const Fields contents(message);
  for (const char* field : kContents) {
    if (type.contents != nullptr && std::string(type.contents) == field) continue;
    rules.Require(contents.Count(field) == 0, "contents are in another type's field");
  }
  if (type.contents == nullptr) {
    rules.Require(elements == 0, "a type without typed contents");
    return "";
  }
  const int count = contents.Count(type.contents);
  rules.Require(count == elements, "contents are not as many as the shape says");
  std::string data;
  for (int i = 0; i < count; ++i) {
    if (type.width == 0) {
      const std::string text = contents.TextItem(type.contents, i);
      const auto length = static_cast<uint32_t>(text.size());
      data.append(reinterpret_cast<const char*>(&length), 4).append(text);
      continue;
    }
    __int128 value = 0;
    data += contents.NumberBytes(type.contents, i, type.width, value);
    rules.Require(value >= type.least && value <= type.most, "a number is out of its type's range");
  }
  return data;
}

// `raw`: of this input; null: the request has none.
ReferenceInput ReadInput(const Message& message, const std::string* raw, const ReferenceLimits& limits,
                         Rules& rules) {
  const Fields fields(message);
  ReferenceInput input{fields.Text("name"), fields.Text("datatype"), {}, {}, {}};
  rules.Require(IsName(input.name, limits), "an input's name");
  __int128 elements = 1;
  rules.Require(fields.Count("shape") <= 8, "an input's rank");
  for (int i = 0; i < fields.Count("shape") && rules.broken().empty(); ++i) {
    __int128 size = 0;
    fields.NumberBytes("shape", i, 8, size);
    rules.Require(size >= 0, "a dimension is negative");
    elements *= size;
    rules.Require(elements <= INT64_MAX, "a shape is too large");
    input.shape.push_back(static_cast<int64_t>(size));
  }
  const auto parameters = fields.Map("parameters");
  CheckKeys(parameters, limits, rules);
  input.shared = PlaceOf(parameters, limits, rules);
  CountOf(parameters, "binary_data_size", 0, rules);
  const TypeRule* type = nullptr;
  for (const TypeRule& known : kTypes) {
    if (input.type == known.name) type = &known;
  }
  rules.Require(type != nullptr, "an unknown data type");
  if (!rules.broken().empty()) return input;
  const bool typed = fields.Has("contents");
  if (input.shared) {
    rules.Require(!typed, "contents of what lies in shared memory");
  } else if (raw != nullptr) {
    rules.Require(!typed, "both contents and raw contents");
    CheckRaw(*raw, *type, elements, rules);
    input.data = *raw;
  } else if (typed) {
    input.data = TypedData(fields.Inner("contents"), *type, elements, rules);
  } else {
    rules.Require(elements == 0, "neither contents nor raw contents");
  }
  return input;
}

void ReadInputs(const Fields& fields, const ReferenceLimits& limits, Rules& rules, ReferenceRequest& read) {
  const int raw_count = fields.Count("raw_input_contents");
  rules.Require(fields.Count("inputs") <= limits.tensors, "too many inputs");
  int expected = 0;
  for (int i = 0; i < fields.Count("inputs"); ++i) {
    if (!IsShared(Fields(fields.Item("inputs", i)).Map("parameters"))) ++expected;
  }
  rules.Require(raw_count == 0 || raw_count == expected, "raw contents are not one for each input");
  std::set<std::string> names;
  int next = 0;
  for (int i = 0; i < fields.Count("inputs") && rules.broken().empty(); ++i) {
    const bool has_raw = raw_count > 0 && !IsShared(Fields(fields.Item("inputs", i)).Map("parameters"));
    const std::string raw = has_raw ? fields.TextItem("raw_input_contents", next++) : "";
    read.inputs.push_back(ReadInput(fields.Item("inputs", i), has_raw ? &raw : nullptr, limits, rules));
    rules.Require(names.insert(read.inputs.back().name).second, "an input is there twice");
  }
}

void ReadOutputs(const Fields& fields, const ReferenceLimits& limits, Rules& rules, ReferenceRequest& read) {
  rules.Require(fields.Count("outputs") <= limits.tensors, "too many outputs");
  std::set<std::string> names;
  for (int i = 0; i < fields.Count("outputs") && rules.broken().empty(); ++i) {
    const Fields output(fields.Item("outputs", i));
    const auto parameters = output.Map("parameters");
    CheckKeys(parameters, limits, rules);
    read.outputs.push_back({output.Text("name"), TruthOf(parameters, "binary_data", rules),
                            CountOf(parameters, "classification", 0, rules),
                            PlaceOf(parameters, limits, rules)});
    rules.Require(IsName(read.outputs.back().name, limits), "an output's name");
    rules.Require(names.insert(read.outputs.back().name).second, "an output is there twice");
  }
}

int64_t ReadVersion(const std::string& text, Rules& rules) {
  if (text.empty()) return 0;
  __int128 version = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') {
      rules.Require(false, "a version is not a number");
      return 0;
    }
    if (version <= INT64_MAX) version = version * 10 + (digit - '0');
  }
  rules.Require(version > 0 && version <= INT64_MAX, "a version is 0 or too large");
  return rules.broken().empty() ? static_cast<int64_t>(version) : 0;
}

class Complaints : public google::protobuf::compiler::MultiFileErrorCollector {
 public:
  void AddError(const std::string& file, int line, int, const std::string& message) override {
    std::fprintf(stderr, "%s:%d: %s\n", file.c_str(), line + 1, message.c_str());
  }
};

// Outlives every importer, as they ask of it.
Complaints& TheComplaints() {
  static Complaints complaints;
  return complaints;
}

}  // namespace

InferenceMessages::InferenceMessages(const std::string& folder) : importer_(&tree_, &TheComplaints()) {
  tree_.MapPath("", folder);
  if (importer_.Import("inference.proto") == nullptr) std::abort();
}

std::unique_ptr<Message> InferenceMessages::New(const std::string& name) {
  const auto* type = importer_.pool()->FindMessageTypeByName("inference." + name);
  if (type == nullptr) std::abort();
  return std::unique_ptr<Message>(factory_.GetPrototype(type)->New());
}

ReferenceRequest ReadRequest(const Message& request, const ReferenceLimits& limits) {
  const Fields fields(request);
  Rules rules;
  ReferenceRequest read;
  rules.Require(!HasGroup(request), "a group");
  read.model_name = fields.Text("model_name");
  rules.Require(IsName(read.model_name, limits), "the model's name");
  read.model_version = ReadVersion(fields.Text("model_version"), rules);
  read.id = fields.Text("id");
  rules.Require(read.id.size() <= limits.name_bytes, "the id is too long");
  const auto parameters = fields.Map("parameters");
  CheckKeys(parameters, limits, rules);
  for (const auto& [key, value] : parameters) {
    rules.Require(key.rfind("triton_", 0) != 0, "a reserved parameter");
  }
  read.priority = CountOf(parameters, "priority", 0, rules);
  read.timeout_us = CountOf(parameters, "timeout", 0, rules);
  read.binary_output = TruthOf(parameters, "binary_data_output", rules).value_or(false);
  read.cache = TruthOf(parameters, "cache", rules).value_or(true);
  ReadSequence(parameters, limits, rules, read);
  ReadInputs(fields, limits, rules, read);
  ReadOutputs(fields, limits, rules, read);
  read.broken_rule = rules.broken();
  return read;
}

}  // namespace falaj::fuzz

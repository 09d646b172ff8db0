// Two passes: the first reads what describes the tensors and steps over their data (in JSON the data may come
// before the shape), the second writes the data where the first said that it goes: plain numbers straight
// from their text (wire/json_numbers.h), anything else by another walk over the same parse. All that the
// first pass steps over unread is read by the second, so that nothing malformed is accepted.
#include "wire/json_decoder.h"

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <algorithm>
#include <deque>

#include "wire/binary_tensor.h"
#include "wire/json_data.h"
#include "wire/json_fields.h"
#include "wire/json_numbers.h"
#include "wire/json_path.h"
#include "wire/shared_parameters.h"

namespace falaj::wire {
namespace {

namespace sj = simdjson::ondemand;

static_assert(JsonDecoder::kPadding >= simdjson::SIMDJSON_PADDING);

// A parser that has seen a large request holds several times its size: FreeMemory leaves it so much.
constexpr size_t kKeepCapacity = size_t{1} << 20;

constexpr JsonPath kRequest{"the request"};
constexpr JsonPath kParametersPath{"parameters"};
constexpr JsonPath kInputsPath{"inputs"};
constexpr JsonPath kOutputsPath{"outputs"};

Status Malformed(const JsonPath& where, simdjson::error_code error, std::string_view what = "") {
  return InvalidInput(where + what + ": " + simdjson::error_message(error));
}

}  // namespace

// Ends the text for as long as it lives. simdjson looks at the byte behind the text, and a request that was
// cut short must not be completed by what happens to follow it.
class Terminated {
 public:
  explicit Terminated(std::string_view text) : at_(const_cast<char*>(text.data() + text.size())), was_(*at_) {
    *at_ = '\0';
  }
  ~Terminated() { *at_ = was_; }
  Terminated(const Terminated&) = delete;
  Terminated& operator=(const Terminated&) = delete;

 private:
  char* const at_;
  const char was_;
};

class JsonDecoder::Impl {
 public:
  explicit Impl(CodecLimits limits) : limits_(limits) {}

  Status Parse(std::string_view json, std::span<const std::byte> blobs);
  Status Fill(std::span<const TensorView> views, std::byte* payload);
  void FreeMemory() {
    if (parser_.capacity() > kKeepCapacity) parser_ = sj::parser();
  }

  InferHeader header;
  size_t payload_bytes = 0;

 private:
  // Where an input's data is, in the order of the inputs.
  struct Source {
    std::string_view json;  // its text; empty: there is none
    bool done = false;      // it was read already
    std::span<const std::byte> blob;
  };

  Status ReadRequest(sj::object request);
  Status ReadParameters(sj::value value);
  Status ReadParameter(std::string_view key, sj::value value, const JsonPath& where);
  Status ReadSequenceId(sj::value value, const JsonPath& where);
  Status ReadInputs(sj::value value);
  Status ReadInput(sj::object object, const JsonPath& where);
  Status ReadInputField(unsigned field, sj::value value, const JsonPath& path, InputHeader& input,
                        Source& source);
  Status ReadShape(sj::value value, const JsonPath& where, Shape& shape);
  Status ReadInputParameters(sj::value value, const JsonPath& where, InputHeader& input);
  Status ReadTensorParameter(std::string_view key, sj::value value, const JsonPath& where,
                             SharedParameters& shared);
  Status ReadOutputs(sj::value value);
  Status ReadOutput(sj::object output, const JsonPath& where);
  Status ReadOutputParameters(sj::value value, const JsonPath& where, OutputRequest& output);
  Status AssignBlobs(std::span<const std::byte> blobs);
  Status CountPayload();
  Status ReadWhole(std::string_view json);
  bool FillNumbers(std::span<const TensorView> views);
  Status FillJson(std::span<const TensorView> views, std::byte*& payload);
  Status FillInputs(sj::array inputs, std::span<const TensorView> views, std::byte*& payload);

  Status ReadString(sj::value value, const JsonPath& where, std::string_view& text);
  Status ReadCount(sj::value value, const JsonPath& where, int64_t& count);
  Status ReadBool(sj::value value, const JsonPath& where, bool& flag);
  Status CheckParameterValue(sj::value value, const JsonPath& where);
  Status StepOver(sj::value value, const JsonPath& where, int depth);
  template <typename Read>
  Status ForEachField(sj::object object, const JsonPath& where, Read read);
  std::string_view Keep(std::string_view text);

  const CodecLimits limits_;
  sj::parser parser_;
  sj::document document_;
  std::string_view json_;
  std::vector<Source> sources_;
  std::deque<std::string> kept_;  // names: the parser's own copies end with the first pass
  size_t kept_used_ = 0;
};

std::string_view JsonDecoder::Impl::Keep(std::string_view text) {
  if (kept_used_ == kept_.size()) kept_.emplace_back();
  return kept_[kept_used_++].assign(text);
}

// Calls `read(key, value)` for every field; keys are unescaped.
template <typename Read>
Status JsonDecoder::Impl::ForEachField(sj::object object, const JsonPath& where, Read read) {
  for (auto field : object) {
    sj::field found;
    if (auto error = std::move(field).get(found)) return Malformed(where, error);
    std::string_view key;
    if (auto error = found.unescaped_key().get(key)) return Malformed(where, error);
    if (key.size() > limits_.max_name_bytes) {
      return InvalidInput(where + ": a key of " + std::to_string(key.size()) + " bytes is too long");
    }
    FALAJ_RETURN_IF_ERROR(read(key, found.value()));
  }
  return Status::Ok();
}

Status JsonDecoder::Impl::Parse(std::string_view json, std::span<const std::byte> blobs) {
  header.Clear();
  sources_.clear();
  kept_used_ = 0;
  payload_bytes = 0;
  json_ = json;
  FALAJ_RETURN_IF_ERROR(ReadWhole(json));
  FALAJ_RETURN_IF_ERROR(AssignBlobs(blobs));
  return CountPayload();
}

// Everything but the data, and that nothing follows.
Status JsonDecoder::Impl::ReadWhole(std::string_view json) {
  const Terminated terminated(json);
  const simdjson::padded_string_view padded(json.data(), json.size(), json.size() + kPadding);
  if (auto error = parser_.iterate(padded).get(document_)) return Malformed(kRequest, error);
  sj::object request;
  if (auto error = document_.get_object().get(request)) {
    return InvalidInput("the request: expected a JSON object (" +
                        std::string(simdjson::error_message(error)) + ")");
  }
  FALAJ_RETURN_IF_ERROR(ReadRequest(request));
  const char* next = nullptr;
  if (!document_.current_location().get(next))
    return InvalidInput("the request: something follows the JSON object");
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadRequest(sj::object request) {
  unsigned seen = 0;
  FALAJ_RETURN_IF_ERROR(ForEachField(request, kRequest, [&](std::string_view key, sj::value value) {
    const RequestField field = RequestFieldOf(key);
    if ((seen & field) != 0) return InvalidInput("`" + std::string(key) + "` is there twice");
    seen |= field;
    switch (field) {
      case kId: {
        std::string_view id;
        FALAJ_RETURN_IF_ERROR(ReadString(value, JsonPath{"id"}, id));
        header.id = Keep(id);
        return Status::Ok();
      }
      case kRequestParameters:
        return ReadParameters(value);
      case kInputs:
        return ReadInputs(value);
      case kOutputs:
        return ReadOutputs(value);
      case kNone:
        break;
    }
    return StepOver(value, JsonPath{key}, 1);
  }));
  return (seen & kInputs) != 0 ? Status::Ok() : InvalidInput("`inputs` is missing from the request");
}

Status JsonDecoder::Impl::ReadParameters(sj::value value) {
  sj::object parameters;
  if (value.get_object().get(parameters)) return InvalidInput("parameters: expected an object");
  return ForEachField(parameters, kParametersPath, [&](std::string_view key, sj::value item) {
    return ReadParameter(key, item, kParametersPath.Key(key));
  });
}

Status JsonDecoder::Impl::ReadParameter(std::string_view key, sj::value value, const JsonPath& where) {
  if (key.starts_with("triton_")) {
    return InvalidInput(where + ": parameters that begin with 'triton_' are reserved");
  }
  if (key == "binary_data_output") return ReadBool(value, where, header.parameters.binary_output);
  if (key == "return_features") return ReadBool(value, where, header.parameters.return_features);
  if (key == "cache") return ReadBool(value, where, header.parameters.cache);
  if (key == "priority" || key == "timeout") {
    int64_t count = 0;
    FALAJ_RETURN_IF_ERROR(ReadCount(value, where, count));
    if (key == "priority") {
      header.parameters.priority = static_cast<int>(std::min<int64_t>(count, INT32_MAX));
    } else if (count > 0) {
      header.parameters.timeout_us = count;
    }
    return Status::Ok();
  }
  if (key == "sequence_id") return ReadSequenceId(value, where);
  if (key == "sequence_start") return ReadBool(value, where, header.parameters.sequence_start);
  if (key == "sequence_end") return ReadBool(value, where, header.parameters.sequence_end);
  return CheckParameterValue(value, where);
}

Status JsonDecoder::Impl::ReadSequenceId(sj::value value, const JsonPath& where) {
  header.parameters.sequence_number = 0;
  header.parameters.sequence_text = {};
  if (!value.get_uint64().get(header.parameters.sequence_number)) return Status::Ok();
  std::string_view text;
  if (value.get_string().get(text)) {
    return InvalidInput(where + ": expected a whole number of 0 or more, or a string");
  }
  if (text.size() > limits_.max_name_bytes) {
    return InvalidInput(where + ": expected at most " + std::to_string(limits_.max_name_bytes) +
                        " bytes, got " + std::to_string(text.size()));
  }
  header.parameters.sequence_text = Keep(text);
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadInputs(sj::value value) {
  sj::array inputs;
  if (value.get_array().get(inputs)) return InvalidInput("inputs: expected an array");
  for (auto item : inputs) {
    const JsonPath where = kInputsPath.At(header.inputs.size());
    if (header.inputs.size() == limits_.max_tensors) return InvalidInput(where + ": too many inputs");
    sj::object input;
    if (auto error = item.get_object().get(input)) return Malformed(where, error, ": expected an object");
    FALAJ_RETURN_IF_ERROR(ReadInput(input, where));
  }
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadInput(sj::object object, const JsonPath& where) {
  InputHeader input;
  Source source;
  unsigned seen = 0;
  FALAJ_RETURN_IF_ERROR(ForEachField(object, where, [&](std::string_view key, sj::value value) {
    const JsonPath path = where.Key(key);
    const unsigned field = InputFieldOf(key);
    if ((seen & field) != 0) return InvalidInput(path + " is there twice");
    seen |= field;
    return ReadInputField(field, value, path, input, source);
  }));
  for (const auto& [field, key] : {std::pair{kName, "name"}, {kShape, "shape"}, {kType, "datatype"}}) {
    if ((seen & field) == 0) return InvalidInput(where.Key(key) + " is missing");
  }
  const std::string_view name = input.name;
  for (const InputHeader& other : header.inputs) {
    if (other.name == name) return InvalidInput(where + ": input '" + std::string(name) + "' is there twice");
  }
  const int ways = ((seen & kData) != 0) + input.binary_bytes.has_value() + input.shared.has_value();
  if (ways != 1) {
    return InvalidInput(where + " ('" + std::string(name) +
                        "'): expected either data or parameters.binary_data_size, got " +
                        (ways == 0      ? "neither"
                         : input.shared ? "a shared_memory_region too"
                                        : "both"));
  }
  header.inputs.push_back(input);
  sources_.push_back(source);
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadInputField(unsigned field, sj::value value, const JsonPath& path,
                                         InputHeader& input, Source& source) {
  std::string_view text;
  switch (field) {
    case kName:
      FALAJ_RETURN_IF_ERROR(ReadString(value, path, text));
      input.name = Keep(text);
      return Status::Ok();
    case kShape:
      return ReadShape(value, path, input.shape);
    case kType: {
      FALAJ_RETURN_IF_ERROR(ReadString(value, path, text));
      const auto type = ParseDataType(text);
      if (!type) return InvalidInput(path + ": unknown data type '" + std::string(text) + "'");
      input.type = *type;
      return Status::Ok();
    }
    case kParameters:
      return ReadInputParameters(value, path, input);
    case kData: {
      sj::array data;
      if (value.get_array().get(data)) return InvalidInput(path + ": expected an array");
      if (auto error = data.raw_json().get(source.json)) return Malformed(path, error);
      return Status::Ok();
    }
    default:
      return StepOver(value, path, 2);
  }
}

Status JsonDecoder::Impl::ReadShape(sj::value value, const JsonPath& where, Shape& shape) {
  sj::array dims;
  if (value.get_array().get(dims)) return InvalidInput(where + ": expected an array");
  std::array<int64_t, Shape::kMaxRank> sizes{};
  size_t rank = 0;
  for (auto dim : dims) {
    if (rank == sizes.size()) return Unsupported(where + ": more than 8 dimensions");
    sj::value size;
    if (auto error = dim.get(size)) return Malformed(where, error);
    FALAJ_RETURN_IF_ERROR(ReadCount(size, where.At(rank), sizes[rank]));
    ++rank;
  }
  shape = Shape(std::span<const int64_t>(sizes).first(rank));
  if (!shape.Elements()) return InvalidInput(where + ": " + shape.ToString() + " is too large");
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadInputParameters(sj::value value, const JsonPath& where, InputHeader& input) {
  sj::object parameters;
  if (value.get_object().get(parameters)) return InvalidInput(where + ": expected an object");
  SharedParameters shared;
  FALAJ_RETURN_IF_ERROR(ForEachField(parameters, where, [&](std::string_view key, sj::value item) {
    const JsonPath path = where.Key(key);
    if (key == "binary_data_size") {
      int64_t bytes = 0;
      FALAJ_RETURN_IF_ERROR(ReadCount(item, path, bytes));
      input.binary_bytes = static_cast<size_t>(bytes);
      return Status::Ok();
    }
    return ReadTensorParameter(key, item, path, shared);
  }));
  return shared.Take(where, input.shared);
}

// One that inputs and outputs may have.
Status JsonDecoder::Impl::ReadTensorParameter(std::string_view key, sj::value value, const JsonPath& where,
                                              SharedParameters& shared) {
  if (key == SharedParameters::kRegion) {
    std::string_view region;
    FALAJ_RETURN_IF_ERROR(ReadString(value, where, region));
    shared.region = Keep(region);
    return Status::Ok();
  }
  if (key == SharedParameters::kOffset) return ReadCount(value, where, shared.offset.emplace());
  if (key == SharedParameters::kBytes) return ReadCount(value, where, shared.bytes.emplace());
  return CheckParameterValue(value, where);
}

Status JsonDecoder::Impl::ReadOutputs(sj::value value) {
  sj::array outputs;
  if (value.get_array().get(outputs)) return InvalidInput("outputs: expected an array");
  for (auto item : outputs) {
    const JsonPath where = kOutputsPath.At(header.outputs.size());
    if (header.outputs.size() == limits_.max_tensors) return InvalidInput(where + ": too many outputs");
    sj::object output;
    if (auto error = item.get_object().get(output)) return Malformed(where, error, ": expected an object");
    FALAJ_RETURN_IF_ERROR(ReadOutput(output, where));
  }
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadOutput(sj::object object, const JsonPath& where) {
  OutputRequest output;
  bool named = false;
  FALAJ_RETURN_IF_ERROR(ForEachField(object, where, [&](std::string_view key, sj::value value) {
    const JsonPath path = where.Key(key);
    if (key == "parameters") return ReadOutputParameters(value, path, output);
    if (key != "name") return StepOver(value, path, 2);
    if (named) return InvalidInput(path + " is there twice");
    named = true;
    std::string_view name;
    FALAJ_RETURN_IF_ERROR(ReadString(value, path, name));
    output.name = Keep(name);
    return Status::Ok();
  }));
  if (!named) return InvalidInput(where + ".name is missing");
  for (const OutputRequest& other : header.outputs) {
    if (other.name == output.name) {
      return InvalidInput(where + ": output '" + std::string(output.name) + "' is there twice");
    }
  }
  header.outputs.push_back(output);
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadOutputParameters(sj::value value, const JsonPath& where,
                                               OutputRequest& output) {
  sj::object parameters;
  if (value.get_object().get(parameters)) return InvalidInput(where + ": expected an object");
  SharedParameters shared;
  FALAJ_RETURN_IF_ERROR(ForEachField(parameters, where, [&](std::string_view key, sj::value item) {
    const JsonPath path = where.Key(key);
    if (key == "binary_data") {
      bool binary = false;
      FALAJ_RETURN_IF_ERROR(ReadBool(item, path, binary));
      output.binary = binary;
      return Status::Ok();
    }
    if (key == "classification") return ReadCount(item, path, output.classification);
    return ReadTensorParameter(key, item, path, shared);
  }));
  return shared.Take(where, output.shared);
}

Status JsonDecoder::Impl::AssignBlobs(std::span<const std::byte> blobs) {
  for (size_t i = 0; i < header.inputs.size(); ++i) {
    const auto& bytes = header.inputs[i].binary_bytes;
    if (!bytes) continue;
    if (*bytes > blobs.size()) {
      return InvalidInput(kInputsPath.At(i) + ".parameters.binary_data_size: " + std::to_string(*bytes) +
                          " bytes, of the body " + std::to_string(blobs.size()) + " are left");
    }
    sources_[i].blob = blobs.first(*bytes);
    blobs = blobs.subspan(*bytes);
  }
  if (blobs.empty()) return Status::Ok();
  return InvalidInput(std::to_string(blobs.size()) +
                      " bytes of the body are left over behind the inputs' binary data");
}

Status JsonDecoder::Impl::CountPayload() {
  for (size_t i = 0; i < header.inputs.size(); ++i) {
    const InputHeader& input = header.inputs[i];
    if (input.type != DataType::kBytes || input.shared) continue;
    if (!input.binary_bytes) {
      payload_bytes += sources_[i].json.size();  // unescaping never lengthens
      continue;
    }
    const auto characters = CountCharacters(sources_[i].blob, *input.shape.Elements());
    if (!characters.ok()) return InvalidInput(kInputsPath.At(i) + ": " + characters.status().message());
    payload_bytes += characters.value();
  }
  return Status::Ok();
}

Status JsonDecoder::Impl::Fill(std::span<const TensorView> views, std::byte* payload) {
  if (!FillNumbers(views)) FALAJ_RETURN_IF_ERROR(FillJson(views, payload));
  for (size_t i = 0; i < header.inputs.size(); ++i) {
    if (!header.inputs[i].binary_bytes) continue;
    if (Status status = ReadBinary(sources_[i].blob, views[i], payload); !status.ok()) {
      return InvalidInput(kInputsPath.At(i) + " ('" + std::string(header.inputs[i].name) +
                          "'): " + status.message());
    }
  }
  return Status::Ok();
}

// Returns whether no input's JSON is left to be read in another way.
bool JsonDecoder::Impl::FillNumbers(std::span<const TensorView> views) {
  const Terminated terminated(json_);
  bool all = true;
  for (size_t i = 0; i < sources_.size(); ++i) {
    Source& source = sources_[i];
    if (header.inputs[i].binary_bytes || header.inputs[i].shared) continue;
    source.done = ReadJsonNumbers(source.json, views[i], limits_.max_depth);
    all = all && source.done;
  }
  return all;
}

Status JsonDecoder::Impl::FillJson(std::span<const TensorView> views, std::byte*& payload) {
  const Terminated terminated(json_);
  document_.rewind();
  sj::object request;
  if (auto error = document_.get_object().get(request)) return Malformed(kRequest, error);
  return ForEachField(request, kRequest, [&](std::string_view key, sj::value value) {
    if (key != "inputs") return Status::Ok();  // the next field steps over it, as it did before
    sj::array inputs;
    if (auto error = value.get_array().get(inputs)) return Malformed(kInputsPath, error);
    return FillInputs(inputs, views, payload);
  });
}

Status JsonDecoder::Impl::FillInputs(sj::array inputs, std::span<const TensorView> views,
                                     std::byte*& payload) {
  size_t i = 0;
  for (auto item : inputs) {
    const JsonPath where = kInputsPath.At(i);
    sj::object input;
    if (auto error = item.get_object().get(input)) return Malformed(where, error);
    const TensorView& view = views[i];
    FALAJ_RETURN_IF_ERROR(ForEachField(input, where, [&](std::string_view key, sj::value value) {
      if (key != "data" || sources_[i].done) return Status::Ok();
      return ReadJsonData(value, view, limits_.max_depth, where.Key("data"), payload);
    }));
    ++i;
  }
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadString(sj::value value, const JsonPath& where, std::string_view& text) {
  if (auto error = value.get_string().get(text)) {
    return error == simdjson::INCORRECT_TYPE ? InvalidInput(where + ": expected a string")
                                             : Malformed(where, error);
  }
  if (text.size() <= limits_.max_name_bytes) return Status::Ok();
  return InvalidInput(where + ": expected at most " + std::to_string(limits_.max_name_bytes) +
                      " bytes, got " + std::to_string(text.size()));
}

Status JsonDecoder::Impl::ReadCount(sj::value value, const JsonPath& where, int64_t& count) {
  if (value.get_int64().get(count) || count < 0) {
    return InvalidInput(where + ": expected a whole number of 0 or more");
  }
  return Status::Ok();
}

Status JsonDecoder::Impl::ReadBool(sj::value value, const JsonPath& where, bool& flag) {
  return value.get_bool().get(flag) ? InvalidInput(where + ": expected true or false") : Status::Ok();
}

Status JsonDecoder::Impl::CheckParameterValue(sj::value value, const JsonPath& where) {
  sj::json_type type{};
  if (auto error = value.type().get(type)) return Malformed(where, error);
  if (type == sj::json_type::array || type == sj::json_type::object || type == sj::json_type::null) {
    return InvalidInput(where + ": expected a string, number or bool");
  }
  return StepOver(value, where, 1);
}

Status JsonDecoder::Impl::StepOver(sj::value value, const JsonPath& where, int depth) {
  if (depth > limits_.max_depth) return InvalidInput(where + ": nested too deep");
  sj::json_type type{};
  if (auto error = value.type().get(type)) return Malformed(where, error);
  simdjson::error_code error = simdjson::SUCCESS;
  switch (type) {
    case sj::json_type::array: {
      sj::array array;
      if ((error = value.get_array().get(array))) break;
      for (auto item : array) {
        sj::value inner;
        if ((error = item.get(inner))) return Malformed(where, error);
        FALAJ_RETURN_IF_ERROR(StepOver(inner, where, depth + 1));
      }
      break;
    }
    case sj::json_type::object: {
      sj::object object;
      if ((error = value.get_object().get(object))) break;
      return ForEachField(object, where, [&](std::string_view, sj::value inner) {
        return StepOver(inner, where, depth + 1);
      });
    }
    case sj::json_type::number:
      error = value.get_double().error();
      break;
    case sj::json_type::string:
      error = value.get_string().error();
      break;
    case sj::json_type::boolean:
      error = value.get_bool().error();
      break;
    case sj::json_type::null: {
      bool null = false;
      error = value.is_null().get(null);
      if (!error && !null) error = simdjson::N_ATOM_ERROR;
      break;
    }
  }
  return error ? Malformed(where, error) : Status::Ok();
}

JsonDecoder::JsonDecoder(CodecLimits limits) : impl_(std::make_unique<Impl>(limits)) {}
JsonDecoder::~JsonDecoder() = default;
Status JsonDecoder::Parse(std::string_view json, std::span<const std::byte> blobs) {
  return impl_->Parse(json, blobs);
}
const InferHeader& JsonDecoder::header() const { return impl_->header; }
size_t JsonDecoder::PayloadBytes() const { return impl_->payload_bytes; }
Status JsonDecoder::Fill(std::span<const TensorView> views, std::byte* payload) {
  return impl_->Fill(views, payload);
}
void JsonDecoder::FreeMemory() { impl_->FreeMemory(); }

}  // namespace falaj::wire

// Two passes over the bytes, as over JSON: the first checks all of them and keeps where each input's data is,
// the second writes the data where the first said that it goes. Of a request that repeats the one before but
// for its raw contents, the first looks at those alone.
#include "wire/grpc_decoder.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string>

#include "wire/binary_tensor.h"
#include "wire/json_path.h"
#include "wire/protobuf_reader.h"
#include "wire/shared_parameters.h"

namespace falaj::wire {
namespace {

constexpr size_t kMostKnown = 1024;

constexpr JsonPath kRequest{"the request"};
constexpr JsonPath kParametersPath{"parameters"};
constexpr std::string_view kEmptyFinal = "triton_enable_empty_final_response";
constexpr JsonPath kInputsPath{"inputs"};
constexpr JsonPath kOutputsPath{"outputs"};
constexpr JsonPath kRawPath{"raw_input_contents"};

// ModelInferRequest
constexpr uint32_t kModelName = TagOf(1, WireType::kBytes);
constexpr uint32_t kModelVersion = TagOf(2, WireType::kBytes);
constexpr uint32_t kId = TagOf(3, WireType::kBytes);
constexpr uint32_t kParameters = TagOf(4, WireType::kBytes);
constexpr uint32_t kInputs = TagOf(5, WireType::kBytes);
constexpr uint32_t kOutputs = TagOf(6, WireType::kBytes);
constexpr uint32_t kRawInputContents = TagOf(7, WireType::kBytes);
// InferInputTensor
constexpr uint32_t kInputName = TagOf(1, WireType::kBytes);
constexpr uint32_t kInputType = TagOf(2, WireType::kBytes);
constexpr uint32_t kInputDimension = TagOf(3, WireType::kVarint);
constexpr uint32_t kInputShape = TagOf(3, WireType::kBytes);  // packed
constexpr uint32_t kInputParameters = TagOf(4, WireType::kBytes);
constexpr uint32_t kInputContents = TagOf(5, WireType::kBytes);
// InferRequestedOutputTensor
constexpr uint32_t kOutputName = TagOf(1, WireType::kBytes);
constexpr uint32_t kOutputParameters = TagOf(2, WireType::kBytes);

// Collects an input's dimensions, which may come in several pieces.
class Dimensions {
 public:
  Status Add(uint64_t bits, const JsonPath& where) {
    if (rank_ == sizes_.size()) return Unsupported(where + ": more than 8 dimensions");
    const auto size = static_cast<int64_t>(bits);
    if (size < 0) return InvalidInput(where.At(rank_) + ": expected a whole number of 0 or more");
    sizes_[rank_++] = size;
    return Status::Ok();
  }
  Status AddPacked(std::span<const std::byte> packed, const JsonPath& where) {
    ProtobufReader reader(packed);
    uint64_t bits = 0;
    while (reader.Varint(bits)) FALAJ_RETURN_IF_ERROR(Add(bits, where));
    if (reader.fault() == nullptr) return Status::Ok();
    return InvalidInput(where + ": malformed protobuf: " + reader.fault());
  }
  Status Take(const JsonPath& where, Shape& shape) const {
    shape = Shape(std::span<const int64_t>(sizes_).first(rank_));
    if (shape.Elements()) return Status::Ok();
    return InvalidInput(where + ": " + shape.ToString() + " is too large");
  }

 private:
  std::array<int64_t, Shape::kMaxRank> sizes_{};
  size_t rank_ = 0;
};

// 0 where no raw contents end the message, or it is malformed.
size_t BytesBeforeRaw(std::span<const std::byte> message) {
  ProtobufReader reader(message);
  ProtobufField field;
  size_t before = message.size();
  for (size_t at = 0; reader.Next(field); at = message.size() - reader.left()) {
    const bool raw = field.tag == kRawInputContents;
    if (!raw && before < message.size()) return 0;
    if (raw) before = std::min(before, at);
  }
  return reader.fault() == nullptr && before < message.size() ? before : 0;
}

template <typename Tensors>
Status CheckDistinct(const Tensors& tensors, const JsonPath& where, const char* what) {
  const auto name = tensors.back().name;
  for (size_t i = 0; i + 1 < tensors.size(); ++i) {
    if (tensors[i].name == name) {
      return InvalidInput(where + ": " + what + " '" + std::string(name) + "' is there twice");
    }
  }
  return Status::Ok();
}

Status WithName(const JsonPath& where, const InputHeader& input, std::string_view message) {
  return InvalidInput(where + " ('" + std::string(input.name) + "'): " + std::string(message));
}

}  // namespace

GrpcDecoder::GrpcDecoder(CodecLimits limits) : limits_(limits) {}

void GrpcDecoder::Clear() {
  repeatable_ = false;
  model_name_ = {};
  model_version_ = 0;
  header_.Clear();
  payload_bytes_ = 0;
  sources_.clear();
  raw_.clear();
}

Status GrpcDecoder::Parse(std::span<const std::byte> message) {
  if (!ReadAsBefore(message)) FALAJ_RETURN_IF_ERROR(ReadAnew(message));
  return MatchContents();
}

bool GrpcDecoder::ReadAsBefore(std::span<const std::byte> message) {
  if (!repeatable_ || message.size() <= known_.size()) return false;
  if (std::memcmp(message.data(), known_.data(), known_.size()) != 0) return false;
  payload_bytes_ = known_payload_bytes_;
  raw_.clear();
  return ReadRaw(message.subspan(known_.size()));
}

Status GrpcDecoder::ReadAnew(std::span<const std::byte> message) {
  Clear();
  const size_t before_raw = BytesBeforeRaw(message);
  if (before_raw == 0 || before_raw > kMostKnown) return ReadRequest(message);
  known_.assign(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(before_raw));
  FALAJ_RETURN_IF_ERROR(ReadRequest(known_));
  if (!ReadRaw(message.subspan(before_raw))) return TooManyContents();
  known_payload_bytes_ = payload_bytes_;
  repeatable_ = true;
  return Status::Ok();
}

// Whether there is nothing else.
bool GrpcDecoder::ReadRaw(std::span<const std::byte> message) {
  ProtobufReader reader(message);
  ProtobufField field;
  while (reader.Next(field)) {
    if (field.tag != kRawInputContents || raw_.size() == limits_.max_tensors) return false;
    raw_.push_back(field.bytes);
  }
  return reader.fault() == nullptr;
}

Status GrpcDecoder::ReadRequest(std::span<const std::byte> message) {
  std::string_view version, id;
  RequestReserved reserved;
  FALAJ_RETURN_IF_ERROR(ForEachField(message, kRequest, [&](const ProtobufField& field) {
    switch (field.tag) {
      case kModelName:
        return ReadGrpcText(field, JsonPath{"model_name"}, model_name_);
      case kModelVersion:
        return ReadGrpcText(field, JsonPath{"model_version"}, version);
      case kId:
        FALAJ_RETURN_IF_ERROR(ReadGrpcText(field, JsonPath{"id"}, id));
        header_.id = id.size() <= limits_.max_name_bytes ? id : std::string_view();
        return Status::Ok();
      case kParameters:
        return ReadParameter(field.bytes, reserved);
      case kInputs:
        return ReadInput(field.bytes);
      case kOutputs:
        return ReadOutput(field.bytes);
      case kRawInputContents:
        if (raw_.size() == limits_.max_tensors) return TooManyContents();
        raw_.push_back(field.bytes);
        return Status::Ok();
      default:
        return Status::Ok();
    }
  }));
  FALAJ_RETURN_IF_ERROR(CheckName(model_name_, JsonPath{"model_name"}));
  if (!id.empty()) FALAJ_RETURN_IF_ERROR(CheckName(id, JsonPath{"id"}));
  FALAJ_RETURN_IF_ERROR(TakeVersion(version));
  return TakeParameters(reserved);
}

Status GrpcDecoder::TooManyContents() const {
  return InvalidInput(kRawPath + ": more than " + std::to_string(limits_.max_tensors));
}

Status GrpcDecoder::TakeVersion(std::string_view version) {
  if (version.empty()) return Status::Ok();
  const char* const end = version.data() + version.size();
  const auto [stopped, error] = std::from_chars(version.data(), end, model_version_);
  if (error == std::errc() && stopped == end && model_version_ > 0) return Status::Ok();
  const bool shown = version.size() <= limits_.max_name_bytes;
  return InvalidInput("model_version: expected a whole number of 1 or more" +
                      (shown ? ", got '" + std::string(version) + "'" : ""));
}

Status GrpcDecoder::ReadParameter(std::span<const std::byte> entry, RequestReserved& reserved) {
  GrpcParameterEntry read;
  FALAJ_RETURN_IF_ERROR(ReadGrpcParameter(entry, kParametersPath, limits_.max_name_bytes, read));
  const std::string_view key = read.key;
  if (key.starts_with("triton_") && key != kEmptyFinal) {
    return InvalidInput(kParametersPath.Key(key) + ": parameters that begin with 'triton_' are reserved");
  }
  if (key == "priority") reserved.priority = read.value;
  if (key == "timeout") reserved.timeout = read.value;
  if (key == "binary_data_output") reserved.binary_output = read.value;
  if (key == "return_features") reserved.return_features = read.value;
  if (key == "cache") reserved.cache = read.value;
  if (key == "sequence_id") reserved.sequence_id = read.value;
  if (key == "sequence_start") reserved.sequence_start = read.value;
  if (key == "sequence_end") reserved.sequence_end = read.value;
  if (key == kEmptyFinal) reserved.empty_final = read.value;
  return Status::Ok();
}

Status GrpcDecoder::TakeParameters(const RequestReserved& reserved) {
  RequestParameters& parameters = header_.parameters;
  int64_t priority = 0;
  int64_t timeout_us = 0;
  FALAJ_RETURN_IF_ERROR(reserved.priority.ReadCount(kParametersPath.Key("priority"), priority));
  FALAJ_RETURN_IF_ERROR(reserved.timeout.ReadCount(kParametersPath.Key("timeout"), timeout_us));
  parameters.priority = static_cast<int>(std::min<int64_t>(priority, INT32_MAX));
  if (timeout_us > 0) parameters.timeout_us = timeout_us;
  FALAJ_RETURN_IF_ERROR(
      reserved.return_features.ReadBool(kParametersPath.Key("return_features"), parameters.return_features));
  FALAJ_RETURN_IF_ERROR(reserved.cache.ReadBool(kParametersPath.Key("cache"), parameters.cache));
  FALAJ_RETURN_IF_ERROR(
      reserved.empty_final.ReadBool(kParametersPath.Key(kEmptyFinal), parameters.empty_final));
  FALAJ_RETURN_IF_ERROR(TakeSequence(reserved));
  return reserved.binary_output.ReadBool(kParametersPath.Key("binary_data_output"), parameters.binary_output);
}

Status GrpcDecoder::TakeSequence(const RequestReserved& reserved) {
  RequestParameters& parameters = header_.parameters;
  const JsonPath where = kParametersPath.Key("sequence_id");
  if (reserved.sequence_id.kind == GrpcParameter::Kind::kString) {
    FALAJ_RETURN_IF_ERROR(reserved.sequence_id.ReadText(where, parameters.sequence_text));
    if (!parameters.sequence_text.empty()) {
      FALAJ_RETURN_IF_ERROR(CheckName(parameters.sequence_text, where));
    }
  } else if (reserved.sequence_id.kind == GrpcParameter::Kind::kUint64) {
    parameters.sequence_number = reserved.sequence_id.bits;
  } else {
    int64_t number = 0;
    FALAJ_RETURN_IF_ERROR(reserved.sequence_id.ReadCount(where, number));
    parameters.sequence_number = static_cast<uint64_t>(number);
  }
  FALAJ_RETURN_IF_ERROR(
      reserved.sequence_start.ReadBool(kParametersPath.Key("sequence_start"), parameters.sequence_start));
  return reserved.sequence_end.ReadBool(kParametersPath.Key("sequence_end"), parameters.sequence_end);
}

Status GrpcDecoder::ReadInput(std::span<const std::byte> message) {
  const JsonPath where = kInputsPath.At(header_.inputs.size());
  if (header_.inputs.size() == limits_.max_tensors) return InvalidInput(where + ": too many inputs");
  InputHeader& input = header_.inputs.emplace_back();
  Source& source = sources_.emplace_back();
  source.input = message;
  std::string_view type;
  Dimensions dimensions;
  GrpcParameter binary_size;
  SharedReserved shared;
  ContentsCount contents;
  FALAJ_RETURN_IF_ERROR(ForEachField(message, where, [&](const ProtobufField& field) {
    switch (field.tag) {
      case kInputName:
        return ReadGrpcText(field, where.Key("name"), input.name);
      case kInputType:
        return ReadGrpcText(field, where.Key("datatype"), type);
      case kInputDimension:
        return dimensions.Add(field.value, where.Key("shape"));
      case kInputShape:
        return dimensions.AddPacked(field.bytes, where.Key("shape"));
      case kInputParameters: {
        GrpcParameterEntry read;
        FALAJ_RETURN_IF_ERROR(ReadTensorParameter(field.bytes, where.Key("parameters"), read, shared));
        if (read.key == "binary_data_size") binary_size = read.value;
        return Status::Ok();
      }
      case kInputContents:
        source.typed = true;
        return CountContents(field.bytes, where.Key("contents"), contents);
      default:
        return Status::Ok();
    }
  }));
  FALAJ_RETURN_IF_ERROR(dimensions.Take(where.Key("shape"), input.shape));
  FALAJ_RETURN_IF_ERROR(CheckInput(where, type));
  int64_t unread = 0;
  FALAJ_RETURN_IF_ERROR(binary_size.ReadCount(where.Key("parameters").Key("binary_data_size"), unread));
  FALAJ_RETURN_IF_ERROR(TakeShared(shared, where.Key("parameters"), input.shared));
  if (!source.typed) return Status::Ok();
  payload_bytes_ += contents.characters;
  return CheckContents(contents, input.type, input.shape, where.Key("contents"));
}

// Of the last input.
Status GrpcDecoder::CheckInput(const JsonPath& where, std::string_view type) {
  InputHeader& input = header_.inputs.back();
  FALAJ_RETURN_IF_ERROR(CheckName(input.name, where.Key("name")));
  FALAJ_RETURN_IF_ERROR(CheckName(type, where.Key("datatype")));
  const auto known = ParseDataType(type);
  if (!known) {
    return InvalidInput(where.Key("datatype") + ": unknown data type '" + std::string(type) + "'");
  }
  input.type = *known;
  return CheckDistinct(header_.inputs, where, "input");
}

Status GrpcDecoder::ReadOutput(std::span<const std::byte> message) {
  const JsonPath where = kOutputsPath.At(header_.outputs.size());
  if (header_.outputs.size() == limits_.max_tensors) return InvalidInput(where + ": too many outputs");
  OutputRequest& output = header_.outputs.emplace_back();
  OutputReserved reserved;
  const JsonPath parameters = where.Key("parameters");
  FALAJ_RETURN_IF_ERROR(ForEachField(message, where, [&](const ProtobufField& field) {
    if (field.tag == kOutputName) return ReadGrpcText(field, where.Key("name"), output.name);
    if (field.tag != kOutputParameters) return Status::Ok();
    GrpcParameterEntry read;
    FALAJ_RETURN_IF_ERROR(ReadTensorParameter(field.bytes, parameters, read, reserved.shared));
    if (read.key == "binary_data") reserved.binary = read.value;
    if (read.key == "classification") reserved.classification = read.value;
    return Status::Ok();
  }));
  FALAJ_RETURN_IF_ERROR(CheckName(output.name, where.Key("name")));
  FALAJ_RETURN_IF_ERROR(CheckDistinct(header_.outputs, where, "output"));
  if (reserved.binary.kind != GrpcParameter::Kind::kAbsent) {
    FALAJ_RETURN_IF_ERROR(reserved.binary.ReadBool(parameters.Key("binary_data"), output.binary.emplace()));
  }
  FALAJ_RETURN_IF_ERROR(TakeShared(reserved.shared, parameters, output.shared));
  return reserved.classification.ReadCount(parameters.Key("classification"), output.classification);
}

Status GrpcDecoder::ReadTensorParameter(std::span<const std::byte> entry, const JsonPath& where,
                                        GrpcParameterEntry& read, SharedReserved& shared) {
  FALAJ_RETURN_IF_ERROR(ReadGrpcParameter(entry, where, limits_.max_name_bytes, read));
  if (read.key == SharedParameters::kRegion) shared.region = read.value;
  if (read.key == SharedParameters::kOffset) shared.offset = read.value;
  if (read.key == SharedParameters::kBytes) shared.bytes = read.value;
  return Status::Ok();
}

Status GrpcDecoder::TakeShared(const SharedReserved& reserved, const JsonPath& where,
                               std::optional<SharedPlace>& place) const {
  constexpr auto kAbsent = GrpcParameter::Kind::kAbsent;
  SharedParameters shared;
  if (reserved.region.kind != kAbsent) {
    const JsonPath path = where.Key(SharedParameters::kRegion);
    FALAJ_RETURN_IF_ERROR(reserved.region.ReadText(path, shared.region.emplace()));
    if (!shared.region->empty()) FALAJ_RETURN_IF_ERROR(CheckName(*shared.region, path));
  }
  if (reserved.offset.kind != kAbsent) {
    FALAJ_RETURN_IF_ERROR(
        reserved.offset.ReadCount(where.Key(SharedParameters::kOffset), shared.offset.emplace()));
  }
  if (reserved.bytes.kind != kAbsent) {
    FALAJ_RETURN_IF_ERROR(
        reserved.bytes.ReadCount(where.Key(SharedParameters::kBytes), shared.bytes.emplace()));
  }
  return shared.Take(where, place);
}

Status GrpcDecoder::CheckName(std::string_view name, const JsonPath& where) const {
  if (name.empty()) return InvalidInput(where + " is missing");
  if (name.size() <= limits_.max_name_bytes) return Status::Ok();
  return InvalidInput(where + ": expected at most " + std::to_string(limits_.max_name_bytes) +
                      " bytes, got " + std::to_string(name.size()));
}

// Where the request has raw contents, all inputs that are not in shared memory have theirs there, in their
// order.
Status GrpcDecoder::MatchContents() {
  size_t expected = 0;
  for (size_t i = 0; i < sources_.size(); ++i) {
    FALAJ_RETURN_IF_ERROR(CheckContentsGiven(i));
    if (!header_.inputs[i].shared) ++expected;
  }
  if (raw_.empty()) return Status::Ok();
  if (raw_.size() != expected) {
    return InvalidInput(kRawPath + ": expected one for each of the " + std::to_string(expected) +
                        " inputs, got " + std::to_string(raw_.size()));
  }
  size_t next = 0;
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (header_.inputs[i].shared) continue;
    const std::span<const std::byte> raw = raw_[next++];
    FALAJ_RETURN_IF_ERROR(TakeRaw(kInputsPath.At(i), header_.inputs[i], raw));
    sources_[i].raw = raw;
  }
  return Status::Ok();
}

Status GrpcDecoder::CheckContentsGiven(size_t i) const {
  const bool typed = sources_[i].typed;
  const InputHeader& input = header_.inputs[i];
  if (input.shared) {
    if (!typed) return Status::Ok();
    return WithName(kInputsPath.At(i), input, "expected no contents with a shared_memory_region");
  }
  if (raw_.empty() ? typed || *input.shape.Elements() == 0 : !typed) return Status::Ok();
  return WithName(kInputsPath.At(i), input,
                  std::string("expected either contents or raw_input_contents, got ") +
                      (raw_.empty() ? "neither" : "both"));
}

Status GrpcDecoder::TakeRaw(const JsonPath& where, const InputHeader& input, std::span<const std::byte> raw) {
  if (input.type != DataType::kBytes) {
    const Status status = CheckBinarySize(raw, input.type, input.shape);
    return status.ok() ? status : WithName(where, input, status.message());
  }
  const auto characters = CountCharacters(raw, *input.shape.Elements());
  if (!characters.ok()) return WithName(where, input, characters.status().message());
  payload_bytes_ += characters.value();
  return Status::Ok();
}

Status GrpcDecoder::Fill(std::span<const TensorView> views, std::byte* payload) {
  for (size_t i = 0; i < sources_.size(); ++i) {
    const Source& source = sources_[i];
    const JsonPath where = kInputsPath.At(i);
    if (header_.inputs[i].shared) continue;
    if (!source.typed) {
      const Status status = ReadBinary(source.raw, views[i], payload);
      if (!status.ok()) return WithName(where, header_.inputs[i], status.message());
      continue;
    }
    int64_t done = 0;
    FALAJ_RETURN_IF_ERROR(ForEachField(source.input, where, [&](const ProtobufField& field) {
      if (field.tag != kInputContents) return Status::Ok();
      return FillContents(field.bytes, views[i], where.Key("contents"), done, payload);
    }));
  }
  return Status::Ok();
}

}  // namespace falaj::wire

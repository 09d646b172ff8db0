// Any bytes as a request: the decoder takes what libprotobuf takes and the protocol allows, no more and no
// less, and reads the same from it; and libprotobuf reads from an encoded answer what was put into it
// (wire/grpc_decoder.h, wire/grpc_encoder.h).
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "inference_reference.h"
#include "protobuf_mutator.h"
#include "wire/binary_tensor.h"
#include "wire/grpc_decoder.h"
#include "wire/grpc_encoder.h"

namespace {

using falaj::DataTypeName;
using falaj::Status;
using falaj::TensorView;
using google::protobuf::Message;
using namespace falaj::fuzz;
using namespace falaj::wire;

constexpr CodecLimits kLimits{.max_tensors = 6, .max_name_bytes = 24};
constexpr ReferenceLimits kReferenceLimits{.tensors = 6, .name_bytes = 24};

struct Decoded {
  std::unique_ptr<std::byte[]> message;
  std::vector<std::unique_ptr<std::byte[]>> memory;
  std::vector<TensorView> views;
  std::unique_ptr<std::byte[]> payload;
};

// Everything in memory of its exact size, so that AddressSanitizer sees a step past it.
Status Decode(GrpcDecoder& decoder, const uint8_t* data, size_t size, Decoded& decoded) {
  decoded.message = std::make_unique<std::byte[]>(size);
  if (size > 0) std::memcpy(decoded.message.get(), data, size);
  FALAJ_RETURN_IF_ERROR(decoder.Parse({decoded.message.get(), size}));
  for (const InputHeader& input : decoder.header().inputs) {
    TensorView view{input.type, input.shape, nullptr};
    if (input.shared) {  // neither checked nor written here
      decoded.views.push_back(view);
      continue;
    }
    // The data was found to be there, so memory for it is not more than a few times the message.
    if (view.bytes() > 64 + 16 * size) std::abort();
    decoded.memory.push_back(std::make_unique<std::byte[]>(view.bytes()));
    view.data = decoded.memory.back().get();
    decoded.views.push_back(view);
  }
  decoded.payload = std::make_unique<std::byte[]>(decoder.PayloadBytes());
  return decoder.Fill(decoded.views, decoded.payload.get());
}

void Require(bool holds, const char* what, const std::string& detail = "") {
  if (holds) return;
  std::fprintf(stderr, "%s: %s\n", what, detail.c_str());
  std::abort();
}

std::string RawForm(const TensorView& view) {
  std::string raw;
  AppendBinary(view, raw);
  return raw;
}

void ComparePlace(const std::optional<SharedPlace>& place, const std::optional<ReferencePlace>& expected) {
  Require(place.has_value() == expected.has_value(), "whether it is in shared memory");
  if (!place) return;
  Require(place->region == expected->region, "a region");
  Require(place->offset == static_cast<uint64_t>(expected->offset), "an offset");
  Require(place->bytes == static_cast<uint64_t>(expected->bytes), "a size");
}

void CompareRequest(const GrpcDecoder& decoder, const Decoded& decoded, const ReferenceRequest& expected) {
  const InferHeader& header = decoder.header();
  Require(decoder.model_name() == expected.model_name, "model_name");
  Require(decoder.model_version() == expected.model_version, "model_version");
  Require(header.id == expected.id, "id");
  Require(header.parameters.priority == std::min<int64_t>(expected.priority, INT32_MAX), "priority");
  Require(header.parameters.timeout_us.value_or(0) == expected.timeout_us, "timeout");
  Require(header.parameters.binary_output == expected.binary_output, "binary_data_output");
  Require(header.parameters.sequence_number == expected.sequence_number, "sequence_id, a number");
  Require(header.parameters.sequence_text == expected.sequence_text, "sequence_id, a text");
  Require(header.parameters.sequence_start == expected.sequence_start, "sequence_start");
  Require(header.parameters.cache == expected.cache, "cache");
  Require(header.parameters.sequence_end == expected.sequence_end, "sequence_end");
  Require(header.inputs.size() == expected.inputs.size(), "inputs");
  for (size_t i = 0; i < expected.inputs.size(); ++i) {
    const InputHeader& input = header.inputs[i];
    Require(input.name == expected.inputs[i].name, "an input's name");
    Require(DataTypeName(input.type) == expected.inputs[i].type, "an input's datatype");
    Require(std::ranges::equal(input.shape.dims(), expected.inputs[i].shape), "an input's shape");
    ComparePlace(input.shared, expected.inputs[i].shared);
    if (!input.shared) Require(RawForm(decoded.views[i]) == expected.inputs[i].data, "an input's data");
  }
  Require(header.outputs.size() == expected.outputs.size(), "outputs");
  for (size_t i = 0; i < expected.outputs.size(); ++i) {
    Require(header.outputs[i].name == expected.outputs[i].name, "an output's name");
    Require(header.outputs[i].binary == expected.outputs[i].binary, "an output's binary_data");
    Require(header.outputs[i].classification == expected.outputs[i].classification,
            "an output's classification");
    ComparePlace(header.outputs[i].shared, expected.outputs[i].shared);
  }
}

void Set(Message& message, const char* field, const std::string& value) {
  message.GetReflection()->SetString(&message, message.GetDescriptor()->FindFieldByName(field), value);
}

Message& Add(Message& message, const char* field) {
  return *message.GetReflection()->AddMessage(&message, message.GetDescriptor()->FindFieldByName(field));
}

// The request's inputs as the answer's outputs: what libprotobuf writes of them is what the encoder writes,
// since both put fields in the order of their numbers.
void CompareAnswer(const ReferenceRequest& request, const Decoded& decoded, Message& response,
                   Message& stream) {
  const int64_t version = std::max<int64_t>(request.model_version, 1);
  std::vector<OutputTensor> outputs;
  Set(response, "model_name", request.model_name);
  Set(response, "model_version", std::to_string(version));
  Set(response, "id", request.id);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const ReferenceInput& input = request.inputs[i];
    if (input.shared) continue;
    outputs.push_back({input.name, decoded.views[i], i % 2 == 0});
    Message& output = Add(response, "outputs");
    Set(output, "name", input.name);
    Set(output, "datatype", input.type);
    for (const int64_t size : input.shape) {
      output.GetReflection()->AddInt64(&output, output.GetDescriptor()->FindFieldByName("shape"), size);
    }
    response.GetReflection()->AddString(
        &response, response.GetDescriptor()->FindFieldByName("raw_output_contents"), input.data);
  }
  const InferReply reply{request.model_name, version, request.id, outputs};
  std::string encoded = "before";
  AppendInferResponse(reply, InferResponseBytes(reply), encoded);
  Require(encoded == "before" + response.SerializeAsString(), "an answer");
  Require(encoded.size() == InferResponseBytes(reply) + 6, "an answer's size");

  const auto* field = stream.GetDescriptor()->FindFieldByName("infer_response");
  stream.GetReflection()->MutableMessage(&stream, field)->CopyFrom(response);
  encoded.clear();
  AppendStreamResponse(reply, InferResponseBytes(reply), encoded);
  Require(encoded == stream.SerializeAsString(), "a stream's answer");
}

// A decoder that has just read a request reads the same again, and the same with one more raw contents, as
// one that has read nothing does.
void CompareRepetition(GrpcDecoder& used, const std::string& message) {
  static GrpcDecoder alone(kLimits);
  for (const std::string& again : {message, message + std::string("\x3a\x01z", 3)}) {
    Decoded expected, found;
    const auto* data = reinterpret_cast<const uint8_t*>(again.data());
    Require(!alone.Parse({}).ok(), "a request without a name");  // of which it forgets what it knew
    const Status wanted = Decode(alone, data, again.size(), expected);
    const Status status = Decode(used, data, again.size(), found);
    Require(status.code() == wanted.code() && status.message() == wanted.message(), "a repetition",
            status.message());
    if (!status.ok()) continue;
    Require(used.header().id == alone.header().id && used.PayloadBytes() == alone.PayloadBytes(),
            "a repetition's head");
    for (size_t i = 0; i < expected.views.size(); ++i) {
      if (used.header().inputs[i].shared) continue;
      Require(RawForm(found.views[i]) == RawForm(expected.views[i]), "a repetition's data");
    }
  }
}

// `text` may be anything at all.
void CompareError(const std::string& text, const std::string& id, Message& stream) {
  std::string encoded;
  AppendStreamError(text, id, encoded);
  Require(stream.ParseFromString(encoded), "a stream's error that libprotobuf refuses");
  const auto* response = stream.GetDescriptor()->FindFieldByName("infer_response");
  const auto* message = stream.GetDescriptor()->FindFieldByName("error_message");
  const Message& inner = stream.GetReflection()->GetMessage(stream, response);
  Require(stream.GetReflection()->HasField(stream, response), "a stream's error without infer_response");
  Require(inner.GetReflection()->GetString(inner, inner.GetDescriptor()->FindFieldByName("id")) == id,
          "a stream's error's id");
  Require(stream.GetReflection()->GetString(stream, message).size() == text.size(),
          "a stream's error's text");
  Require(stream.SerializeAsString() == encoded, "a stream's error");
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);  // it logs what is not UTF-8
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  return MutateMessage(data, size, most, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static InferenceMessages messages(FALAJ_SOURCE_DIR "/tests/fuzz");
  static GrpcDecoder decoder(kLimits);
  Decoded decoded;
  const Status status = Decode(decoder, data, size, decoded);
  const std::unique_ptr<Message> request = messages.New("ModelInferRequest");
  if (!request->ParseFromArray(data, static_cast<int>(size))) {
    Require(!status.ok(), "taken, though libprotobuf refuses it");
    return 0;
  }
  const ReferenceRequest expected = ReadRequest(*request, kReferenceLimits);
  Require(!status.ok() || expected.broken_rule.empty(), "taken against the protocol", expected.broken_rule);
  Require(status.ok() || !expected.broken_rule.empty(), "refused without need", status.message());
  if (!status.ok()) return 0;
  CompareRequest(decoder, decoded, expected);
  CompareRepetition(decoder, std::string(reinterpret_cast<const char*>(data), size));
  CompareAnswer(expected, decoded, *messages.New("ModelInferResponse"),
                *messages.New("ModelStreamInferResponse"));
  CompareError(std::string(reinterpret_cast<const char*>(data), std::min<size_t>(size, 40)), expected.id,
               *messages.New("ModelStreamInferResponse"));
  return 0;
}

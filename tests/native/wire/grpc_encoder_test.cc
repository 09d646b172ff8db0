#include "wire/grpc_encoder.h"

#include <gtest/gtest.h>

#include "wire/infer_messages.h"

namespace falaj::wire::test {
namespace {

TEST(GrpcEncoder, WritesAResponse) {
  const std::array<float, 2> floats = {1.5F, -2};
  const std::array<std::string_view, 2> texts = {"ab", ""};
  const std::array outputs = {
      OutputTensor{"y", {DataType::kFp32, Shape{1, 2}, const_cast<float*>(floats.data())}, false},
      OutputTensor{"s", {DataType::kBytes, Shape{2}, const_cast<std::string_view*>(texts.data())}, true},
      OutputTensor{"none", {DataType::kInt64, Shape{300, 0}, nullptr}, false}};
  std::string message = "before";
  const InferReply reply{"m", 12, "7", outputs};
  AppendInferResponse(reply, InferResponseBytes(reply), message);
  EXPECT_EQ(message, "before" + Bytes(1, "m") + Bytes(2, "12") + Bytes(3, "7") + Input("y", "FP32", {1, 2}) +
                         Input("s", "BYTES", {2}) + Input("none", "INT64", {300, 0}) +
                         Bytes(6, Lying({1.5F, -2.0F})) + Bytes(6, std::string("\2\0\0\0ab\0\0\0\0", 10)) +
                         Bytes(6, ""));
}

TEST(GrpcEncoder, SaysWhereAnOutputLiesInSharedMemory) {
  const std::array<float, 2> floats = {1.5F, -2};
  const SharedPlace place{"r", 0, 300};
  const TensorView view{DataType::kFp32, Shape{1, 2}, const_cast<float*>(floats.data())};
  const std::array outputs = {OutputTensor{"y", view, false, &place}, OutputTensor{"z", view, false}};
  std::string message;
  const InferReply reply{"m", 1, "", outputs};
  AppendInferResponse(reply, InferResponseBytes(reply), message);
  const std::string parameters = Parameter(4, "shared_memory_region", TextValue("r")) +
                                 Parameter(4, "shared_memory_offset", IntValue(0)) +
                                 Parameter(4, "shared_memory_byte_size", IntValue(300));
  EXPECT_EQ(message, Bytes(1, "m") + Bytes(2, "1") + Input("y", "FP32", {1, 2}, parameters) +
                         Input("z", "FP32", {1, 2}) + Bytes(6, "") + Bytes(6, Lying({1.5F, -2.0F})));
}

TEST(GrpcEncoder, SaysThatFeaturesAreStale) {
  const InferReply reply{"m", 1, "7", {}, true};
  std::string message;
  AppendInferResponse(reply, InferResponseBytes(reply), message);
  const std::string entry = Bytes(1, "features_stale") + Bytes(2, "\x08\x01");
  EXPECT_EQ(message, Bytes(1, "m") + Bytes(2, "1") + Bytes(3, "7") + Bytes(4, entry));
}

TEST(GrpcEncoder, LeavesOutWhatIsNotThere) {
  const uint8_t one = 1;
  const OutputTensor scalar{"y", {DataType::kBool, Shape{}, const_cast<uint8_t*>(&one)}, false};
  std::string message;
  const InferReply reply{"m", 1, "", std::span(&scalar, 1)};
  AppendInferResponse(reply, InferResponseBytes(reply), message);
  EXPECT_EQ(message,
            Bytes(1, "m") + Bytes(2, "1") + Bytes(5, Bytes(1, "y") + Bytes(2, "BOOL")) + Bytes(6, "\1"));
}

TEST(GrpcEncoder, WrapsResponsesForAStream) {
  std::string message = "before";
  const InferReply reply{"m", INT64_MAX, "7", {}};
  std::string inner;
  AppendInferResponse(reply, InferResponseBytes(reply), inner);
  AppendStreamResponse(reply, InferResponseBytes(reply), message);
  EXPECT_EQ(message, "before" + Bytes(2, inner));
}

TEST(GrpcEncoder, TellsAStreamOfAFailedRequest) {
  std::string message;
  AppendStreamError("queue full", "7", message);
  EXPECT_EQ(message, Bytes(1, "queue full") + Bytes(2, Bytes(3, "7")));
  message.clear();
  AppendStreamError("no id", "", message);
  EXPECT_EQ(message, Bytes(1, "no id") + Bytes(2, ""));
  message.clear();
  AppendStreamError("got \xc3, not ü", "", message);
  EXPECT_EQ(message, Bytes(1, "got ?, not " + std::string(2, '?')) + Bytes(2, ""));
  message.clear();
  AppendStreamError("got 'ü'", "", message);
  EXPECT_EQ(message, Bytes(1, "got 'ü'") + Bytes(2, ""));
}

// A response with its raw_output_contents as raw_input_contents is a request.
std::string AsRequest(std::string_view response) {
  std::string request;
  ProtobufReader reader(std::as_bytes(std::span(response)));
  ProtobufField field;
  while (reader.Next(field)) {
    const uint32_t number = field.tag >> 3;
    request += Bytes(number == 6 ? 7 : number,
                     {reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size()});
  }
  EXPECT_EQ(reader.fault(), nullptr);
  return request;
}

TEST(GrpcEncoder, WritesWhatTheDecoderReads) {
  std::mt19937_64 random(11);
  GrpcDecoder decoder;
  for (int round = 0; round < 300; ++round) {
    std::deque<std::string> names;
    std::vector<OwnedTensor> tensors;
    std::vector<OutputTensor> outputs;
    for (auto count = random() % 5; count > 0; --count) {
      names.push_back("output " + std::to_string(count) + RandomUtf8(random));
      tensors.push_back(RandomTensor(random, kAllTypes[random() % kAllTypes.size()], RandomShape(random)));
      outputs.push_back({names.back(), tensors.back().view, random() % 2 == 0});
    }
    const std::string id = RandomUtf8(random);
    const InferReply reply{"model", static_cast<int64_t>(random() >> (1 + random() % 62) | 1), id, outputs};
    std::string message;
    AppendInferResponse(reply, InferResponseBytes(reply), message);
    EXPECT_EQ(message.size(), InferResponseBytes(reply));
    Decoded decoded;
    const Status status = Decode(decoder, AsRequest(message), &decoded);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(decoder.model_name(), reply.model_name);
    EXPECT_EQ(decoder.model_version(), reply.model_version);
    EXPECT_EQ(decoder.header().id, id);
    ASSERT_EQ(decoder.header().inputs.size(), outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      EXPECT_EQ(decoder.header().inputs[i].name, outputs[i].name);
      EXPECT_TRUE(Same(decoded.tensors[i].view, outputs[i].view));
    }
  }
}

TEST(GrpcEncoder, GrowsItsBufferAtMostOnce) {
  std::vector<double> numbers(1000);
  const OutputTensor output{"y", {DataType::kFp64, Shape{1000}, numbers.data()}, true};
  const InferReply reply{"m", 1, "id", std::span(&output, 1)};
  std::string message;
  message.reserve(InferResponseBytes(reply));
  const char* const memory = message.data();
  AppendInferResponse(reply, InferResponseBytes(reply), message);
  EXPECT_EQ(message.data(), memory);
  EXPECT_EQ(message.capacity(), message.size());
}

}  // namespace
}  // namespace falaj::wire::test

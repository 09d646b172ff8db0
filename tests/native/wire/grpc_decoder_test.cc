#include "wire/grpc_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "wire/binary_tensor.h"
#include "wire/infer_messages.h"

namespace falaj::wire::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kModel = Model("m");

// One FP32 input of one element, with its data.
std::string OneInput(std::string_view more = "") {
  return Input("x", "FP32", {1}, Contents(Fixed(6, 1.5F)) + std::string(more));
}

TEST(GrpcDecoder, ReadsARequestAsTritonsClientWritesIt) {
  const std::string message = kModel + Version("3") + Id("7") + Parameter(4, "priority", UintValue(2)) +
                              Parameter(4, "timeout", IntValue(1500)) + Parameter(4, "mine", RealValue(0.5)) +
                              Input("x", "FP32", {2, 2}) + Input("s", "BYTES", {2}) +
                              Output(Bytes(1, "y") + Parameter(2, "classification", IntValue(3))) +
                              Output(Bytes(1, "z") + Parameter(2, "binary_data", BoolValue(true))) +
                              Raw(Lying({1.0F, 2.0F, 3.5F, -40.0F})) +
                              Raw(std::string("\1\0\0\0a\2\0\0\0b\0", 11));
  GrpcDecoder decoder;
  Decoded decoded;
  const Status status = Decode(decoder, message, &decoded);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(decoder.model_name(), "m");
  EXPECT_EQ(decoder.model_version(), 3);
  const InferHeader& header = decoder.header();
  EXPECT_EQ(header.id, "7");
  EXPECT_EQ(header.parameters.priority, 2);
  EXPECT_EQ(header.parameters.timeout_us, 1500);
  EXPECT_FALSE(header.parameters.binary_output);
  ASSERT_EQ(header.inputs.size(), 2u);
  EXPECT_EQ(header.inputs[0].name, "x");
  EXPECT_EQ(header.inputs[0].type, DataType::kFp32);
  EXPECT_EQ(header.inputs[0].shape, (Shape{2, 2}));
  ASSERT_EQ(header.outputs.size(), 2u);
  EXPECT_EQ(header.outputs[0].name, "y");
  EXPECT_EQ(header.outputs[0].classification, 3);
  EXPECT_FALSE(header.outputs[0].binary.has_value());
  EXPECT_EQ(header.outputs[1].binary, true);
  EXPECT_EQ(decoder.PayloadBytes(), 3u);
  EXPECT_THAT(decoded.Values<float>(0), ElementsAre(1, 2, 3.5, -40));
  EXPECT_THAT(decoded.Values<std::string_view>(1), ElementsAre("a", std::string_view("b\0", 2)));
}

// Parameters of an input that lies in shared memory.
std::string SharedIn(std::string_view region, int64_t bytes) {
  return Parameter(4, "shared_memory_region", TextValue(region)) +
         Parameter(4, "shared_memory_byte_size", IntValue(bytes));
}

TEST(GrpcDecoder, TakesRawContentsForInputsThatAreNotShared) {
  const std::string output = Output(Bytes(1, "y") + Parameter(2, "shared_memory_region", TextValue("q")) +
                                    Parameter(2, "shared_memory_byte_size", UintValue(8)) +
                                    Parameter(2, "shared_memory_offset", IntValue(16)));
  const std::string head = kModel + Input("a", "FP32", {1}) + Input("s", "BYTES", {2}, SharedIn("r", 64)) +
                           Input("b", "FP32", {1}) + output;
  GrpcDecoder decoder;
  for (int round = 0; round < 2; ++round) {  // the second time its head is known
    Decoded decoded;
    const Status status = Decode(decoder, head + Raw(Lying({1.0F})) + Raw(Lying({2.0F})), &decoded);
    ASSERT_TRUE(status.ok()) << status.message();
    const InferHeader& header = decoder.header();
    ASSERT_TRUE(header.inputs[1].shared.has_value());
    EXPECT_EQ(header.inputs[1].shared->region, "r");
    EXPECT_EQ(header.inputs[1].shared->offset, 0u);
    EXPECT_EQ(header.inputs[1].shared->bytes, 64u);
    EXPECT_EQ(decoder.PayloadBytes(), 0u);
    EXPECT_THAT(decoded.Values<float>(0), ElementsAre(1));
    EXPECT_THAT(decoded.Values<float>(2), ElementsAre(2));
    ASSERT_TRUE(header.outputs[0].shared.has_value());
    EXPECT_EQ(header.outputs[0].shared->region, "q");
    EXPECT_EQ(header.outputs[0].shared->offset, 16u);
    EXPECT_EQ(header.outputs[0].shared->bytes, 8u);
  }
  EXPECT_THAT(Decode(decoder, head + Raw(Lying({1.0F}))).message(),
              HasSubstr("one for each of the 2 inputs"));
  EXPECT_TRUE(Decode(decoder, kModel + Input("s", "BYTES", {2}, SharedIn("r", 64))).ok());
  EXPECT_FALSE(Decode(decoder, kModel + Input("s", "BYTES", {2}, SharedIn("r", 64)) + Raw("")).ok());
}

TEST(GrpcDecoder, ForgetsTheRequestBefore) {
  GrpcDecoder decoder;
  ASSERT_TRUE(Decode(decoder, kModel + Version("3") + Id("7") + Parameter(4, "timeout", IntValue(1)) +
                                  Input("s", "BYTES", {1}) + Output(Bytes(1, "y")) +
                                  Raw(std::string("\1\0\0\0a", 5)))
                  .ok());
  EXPECT_FALSE(Decode(decoder, Model("n") + Id("8") + Input("z", "FP32", {1})).ok());
  ASSERT_TRUE(Decode(decoder, kModel).ok());
  EXPECT_EQ(decoder.model_version(), 0);
  EXPECT_EQ(decoder.header().id, "");
  EXPECT_FALSE(decoder.header().parameters.timeout_us.has_value());
  EXPECT_TRUE(decoder.header().inputs.empty());
  EXPECT_TRUE(decoder.header().outputs.empty());
  EXPECT_EQ(decoder.PayloadBytes(), 0u);
}

TEST(GrpcDecoder, ReadsARequestThatRepeatsTheOneBeforeWithOtherContents) {
  const std::string head = kModel + Version("3") + Id("7") + Input("x", "FP32", {2}) +
                           Input("s", "BYTES", {1}) +
                           Output(Bytes(1, "y") + Parameter(2, "classification", IntValue(3)));
  GrpcDecoder decoder;
  for (const float value : {1.0F, 2.0F, 3.0F}) {
    const std::string text(static_cast<size_t>(value), 'a');
    Decoded decoded;
    ASSERT_TRUE(Decode(decoder,
                       head + Raw(Lying({value, -value})) +
                           Raw(std::string(1, static_cast<char>(value)) + std::string(3, '\0') + text),
                       &decoded)
                    .ok());
    EXPECT_THAT(decoded.Values<float>(0), ElementsAre(value, -value));
    EXPECT_THAT(decoded.Values<std::string_view>(1), ElementsAre(text));
    EXPECT_EQ(decoder.model_name(), "m");
    EXPECT_EQ(decoder.header().id, "7");
    EXPECT_EQ(decoder.header().inputs[1].name, "s");
    EXPECT_EQ(decoder.header().outputs[0].classification, 3);
  }
}

// What follows the repeated part may be anything, and is told as if nothing had come before.
TEST(GrpcDecoder, ReadsWhatFollowsARepetitionAsItWouldAlone) {
  const std::string head = kModel + Id("7") + Input("x", "FP32", {1});
  const std::string raw = Raw(Lying({1.0F}));
  const std::vector<std::string> endings{raw,
                                         "",
                                         raw + raw,
                                         Raw("123"),
                                         Raw(""),
                                         raw + Id("8"),
                                         raw + Model("n"),
                                         raw + Input("z", "FP32", {0}),
                                         raw + "\x3a",
                                         raw + "\x3a\x05",
                                         raw + "\x0b",
                                         Id("9") + raw,
                                         raw};
  for (const std::string& first : endings) {
    for (const std::string& second : endings) {
      GrpcDecoder used;
      GrpcDecoder fresh;
      static_cast<void>(Decode(used, head + raw));
      static_cast<void>(Decode(used, head + first));
      Decoded by_fresh, by_used;  // what the headers view
      const Status expected = Decode(fresh, head + second, &by_fresh);
      const Status found = Decode(used, head + second, &by_used);
      EXPECT_EQ(found.code(), expected.code()) << found.message() << " for " << expected.message();
      EXPECT_EQ(found.message(), expected.message());
      EXPECT_EQ(used.header().id, fresh.header().id);
      if (!expected.ok()) continue;
      EXPECT_EQ(used.model_name(), fresh.model_name());
      EXPECT_EQ(used.header().inputs.size(), fresh.header().inputs.size());
      EXPECT_EQ(used.PayloadBytes(), fresh.PayloadBytes());
    }
  }
}

TEST(GrpcDecoder, ReadsEveryTypeRaw) {
  std::mt19937_64 random(5);
  GrpcDecoder decoder;
  for (int round = 0; round < 20; ++round) {
    std::vector<OwnedTensor> tensors;
    std::string message = kModel;
    for (const DataType type : kAllTypes) {
      tensors.push_back(RandomTensor(random, type, RandomShape(random)));
      std::string shape;
      for (const int64_t size : tensors.back().view.shape.dims())
        shape += Number(3, static_cast<uint64_t>(size));
      message += Bytes(5, Bytes(1, DataTypeName(type)) + Bytes(2, DataTypeName(type)) + shape);
      std::string raw;
      AppendBinary(tensors.back().view, raw);
      message += Raw(raw);
    }
    Decoded decoded;
    const Status status = Decode(decoder, message, &decoded);
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_TRUE(Same(tensors[i].view, decoded.tensors[i].view)) << DataTypeName(kAllTypes[i]);
    }
  }
}

TEST(GrpcDecoder, KnowsTheIdOfARequestThatItRefuses) {
  GrpcDecoder decoder({.max_name_bytes = 8});
  const auto id = [&](const std::string& message) {
    EXPECT_FALSE(decoder.Parse(std::as_bytes(std::span(message))).ok());
    return std::string(decoder.header().id);
  };
  EXPECT_EQ(id(kModel + Id("7") + Input("x", "FP32", {1})), "7");
  EXPECT_EQ(id(kModel + Id("7") + "\x0b"), "7");
  EXPECT_EQ(id(kModel + Input("x", "FP8", {1}) + Id("7")), "");
  EXPECT_EQ(id(kModel + Id("123456789")), "");
  EXPECT_EQ(id(kModel + Id("7") + Id("\xff")), "7");
}

struct Case {
  std::string message;
  std::string error;
  Code code = Code::kInvalidInput;
};

void ExpectRefused(const std::vector<Case>& cases, CodecLimits limits = {}) {
  GrpcDecoder decoder(limits);
  for (const Case& c : cases) {
    const Status status = Decode(decoder, c.message);
    EXPECT_EQ(status.code(), c.code) << c.error;
    EXPECT_THAT(status.message(), HasSubstr(c.error));
  }
}

TEST(GrpcDecoder, SaysWhatIsWrongInATensor) {
  const std::string typed = Contents(Fixed(6, 1.0F));
  ExpectRefused({
      {kModel + Input("", "FP32", {1}, typed), "inputs[0].name is missing"},
      {kModel + Input("x", "", {1}, typed), "inputs[0].datatype is missing"},
      {kModel + Input("x", "FP8", {1}, typed), "inputs[0].datatype: unknown data type 'FP8'"},
      {kModel + OneInput() + Input("y", "FP32", {2, -1}, typed),
       "inputs[1].shape[1]: expected a whole number"},
      {kModel + Input("x", "FP32", {INT64_MAX, 9}, typed),
       "inputs[0].shape: [9223372036854775807, 9] is too large"},
      {kModel + Input("x", "FP32", {1, 1, 1, 1, 1, 1, 1, 1, 1}, typed),
       "inputs[0].shape: more than 8 dimensions", Code::kUnsupported},
      {kModel + OneInput() + OneInput(), "inputs[1]: input 'x' is there twice"},
      {kModel + Bytes(5, Bytes(1, "\xff")), "inputs[0].name: expected UTF-8"},
      {kModel + Bytes(5, Bytes(2, "\xff")), "inputs[0].datatype: expected UTF-8"},
      {kModel + Bytes(5, "\x0b"), "inputs[0]: malformed protobuf"},
      {kModel + Bytes(5, Bytes(3, "\xff")), "inputs[0].shape: malformed protobuf"},
      {kModel + Output(""), "outputs[0].name is missing"},
      {kModel + Output(Bytes(1, "y")) + Output(Bytes(1, "y")), "outputs[1]: output 'y' is there twice"},
      {kModel + Output(Bytes(1, "\xff")), "outputs[0].name: expected UTF-8"},
      {kModel + Output("\x0c"), "outputs[0]: malformed protobuf"},
  });
}

TEST(GrpcDecoder, SaysWhatIsWrongInTheRequest) {
  ExpectRefused({
      {"", "model_name is missing"},
      {Model(""), "model_name is missing"},
      {Model("\xff"), "model_name: expected UTF-8"},
      {kModel + Id("\xed\xa0\x80"), "id: expected UTF-8"},
      {kModel + Version("\xff"), "model_version: expected UTF-8"},
      {kModel + "\x1b\x1c", "the request: malformed protobuf"},
      {kModel + std::string(1, '\0'), "the request: malformed protobuf"},
  });
}

TEST(GrpcDecoder, TakesOnlyPositiveWholeVersions) {
  GrpcDecoder decoder;
  for (const auto& [text, version] :
       {std::pair{"", int64_t{0}}, {"1", 1}, {"9223372036854775807", INT64_MAX}}) {
    ASSERT_TRUE(Decode(decoder, kModel + Version(text)).ok()) << text;
    EXPECT_EQ(decoder.model_version(), version);
  }
  for (const char* text : {"0", "-1", "+1", " 1", "1 ", "1.0", "one", "0x1", "9223372036854775808"}) {
    const Status status = Decode(decoder, kModel + Version(text));
    EXPECT_EQ(status.code(), Code::kInvalidInput) << text;
    EXPECT_THAT(status.message(), HasSubstr("model_version: expected a whole number of 1 or more, got '" +
                                            std::string(text) + "'"));
  }
}

TEST(GrpcDecoder, TakesEachInputsDataFromOnePlace) {
  const std::string raw = Raw(Lying({1.0F}));
  ExpectRefused({
      {kModel + OneInput() + raw,
       "inputs[0] ('x'): expected either contents or raw_input_contents, got both"},
      {kModel + Input("x", "FP32", {0}, Contents("")) + Raw(""), "got both"},
      {kModel + Input("x", "FP32", {1}) + OneInput() + raw, "inputs[1]"},
      {kModel + Input("x", "FP32", {1}),
       "inputs[0] ('x'): expected either contents or raw_input_contents, got neither"},
      {kModel + OneInput() + Input("y", "FP32", {1}), "inputs[1] ('y')"},
      {kModel + Input("x", "FP32", {1}) + raw + raw,
       "raw_input_contents: expected one for each of the 1 inputs, got 2"},
      {kModel + Input("x", "FP32", {1}) + Input("y", "FP32", {1}) + raw, "the 2 inputs, got 1"},
      {kModel + raw, "the 0 inputs, got 1"},
      {kModel + Input("x", "FP32", {2}) + raw, "inputs[0] ('x'): expected 8 bytes for FP32 [2], got 4"},
      {kModel + Input("x", "FP64", {int64_t{1} << 62}) + raw, "expected more bytes for FP64"},
      {kModel + Input("x", "BYTES", {1}) + Raw("abc"), "inputs[0] ('x'): expected 1 BYTES elements"},
      {kModel + Input("x", "BYTES", {1}) + Raw(std::string("\2\0\0\0a", 5)), "says that it has 2 bytes"},
      {kModel + Input("x", "BOOL", {2}) + Raw("\1\2"),
       "inputs[0] ('x'): BOOL element 1: expected 0 or 1, got 2"},
  });
}

TEST(GrpcDecoder, NeedsNoDataForATensorWithoutElements) {
  GrpcDecoder decoder;
  for (const std::string& data : {std::string(), Contents("")}) {
    for (const DataType type : kAllTypes) {
      const Status status = Decode(decoder, kModel + Input("x", DataTypeName(type), {0, 3}, data));
      EXPECT_TRUE(status.ok()) << status.message();
    }
  }
  EXPECT_TRUE(Decode(decoder, kModel + Input("x", "FP32", {0}) + Raw("")).ok());
  EXPECT_TRUE(Decode(decoder, kModel + OneInput() + Input("y", "FP16", {0})).ok());
}

TEST(GrpcDecoder, ChecksReservedParameters) {
  const auto request = [](std::string_view key, const std::string& value) {
    return kModel + Parameter(4, key, value);
  };
  const auto input = [](std::string_view key, const std::string& value) {
    return kModel + OneInput(Parameter(4, key, value));
  };
  const auto output = [](std::string_view key, const std::string& value) {
    return kModel + Output(Bytes(1, "y") + Parameter(2, key, value));
  };
  std::vector<Case> cases = {
      {request("triton_x", BoolValue(true)), "parameters.triton_x: parameters that begin with 'triton_'"},
      {request("sequence_id", IntValue(-7)), "parameters.sequence_id: expected a whole number"},
      {request("sequence_id", BoolValue(true)), "parameters.sequence_id: expected a whole number"},
      {request("sequence_id", RealValue(7)), "parameters.sequence_id: expected a whole number"},
      {request("sequence_start", IntValue(1)), "parameters.sequence_start: expected true or false"},
      {request("sequence_end", TextValue("true")), "parameters.sequence_end: expected true or false"},
      {request("binary_data_output", IntValue(1)), "parameters.binary_data_output: expected true or false"},
      {request("return_features", IntValue(1)), "parameters.return_features: expected true or false"},
      {request("cache", IntValue(0)), "parameters.cache: expected true or false"},
      {request("cache", TextValue("false")), "parameters.cache: expected true or false"},
      {request("mine", TextValue("\xff")), "parameters: expected UTF-8"},
      {request("\xff", IntValue(1)), "parameters: expected UTF-8"},
      {request("mine", "\x0b"), "parameters: malformed protobuf"},
      {kModel + Bytes(4, "\x0b"), "parameters: malformed protobuf"},
      {input("shared_memory_region", TextValue("r")),
       "inputs[0].parameters.shared_memory_byte_size is missing"},
      {input("shared_memory_byte_size", IntValue(1)), "inputs[0].parameters.shared_memory_region is missing"},
      {input("shared_memory_region", IntValue(1)), "shared_memory_region: expected a string"},
      {output("shared_memory_offset", IntValue(0)), "outputs[0].parameters.shared_memory_region is missing"},
      {output("shared_memory_byte_size", IntValue(-1)), "shared_memory_byte_size: expected a whole number"},
      {kModel + OneInput(SharedIn("r", 4)), "expected no contents with a shared_memory_region"},
      {kModel + Input("x", "FP32", {1}, SharedIn("", 4)), "expected a region's name"},
      {output("binary_data", TextValue("true")), "outputs[0].parameters.binary_data: expected true or false"},
  };
  for (const std::string& value : {IntValue(-1), UintValue(uint64_t{1} << 63), RealValue(1), TextValue("1"),
                                   BoolValue(true), std::string()}) {
    cases.push_back(
        {request("priority", value), "parameters.priority: expected a whole number of 0 or more"});
    cases.push_back({request("timeout", value), "parameters.timeout: expected a whole number of 0 or more"});
    cases.push_back(
        {input("binary_data_size", value), "inputs[0].parameters.binary_data_size: expected a whole number"});
    cases.push_back(
        {output("classification", value), "outputs[0].parameters.classification: expected a whole number"});
  }
  ExpectRefused(cases);
}

TEST(GrpcDecoder, TakesSequenceIdsThatAreNumbersOrTexts) {
  GrpcDecoder decoder;
  const RequestParameters& parameters = decoder.header().parameters;
  const std::string both =
      Parameter(4, "sequence_start", BoolValue(true)) + Parameter(4, "sequence_end", BoolValue(true));
  for (const auto& [value, number] : {std::pair{UintValue(UINT64_MAX), UINT64_MAX},
                                      {IntValue(7), uint64_t{7}},
                                      {UintValue(0), uint64_t{0}}}) {
    ASSERT_TRUE(Decode(decoder, kModel + Parameter(4, "sequence_id", value) + both).ok());
    EXPECT_EQ(parameters.sequence_number, number);
    EXPECT_EQ(parameters.sequence_text, "");
    EXPECT_TRUE(parameters.sequence_start);
    EXPECT_TRUE(parameters.sequence_end);
  }
  const std::string message = kModel + Parameter(4, "sequence_id", UintValue(1)) +
                              Parameter(4, "sequence_id", TextValue("tram 7"));  // what is read views it
  ASSERT_TRUE(decoder.Parse(std::as_bytes(std::span(message.data(), message.size()))).ok());
  EXPECT_EQ(parameters.sequence_number, 0u);
  EXPECT_EQ(parameters.sequence_text, "tram 7");
  EXPECT_FALSE(parameters.sequence_start);
  EXPECT_FALSE(parameters.sequence_end);
}

TEST(GrpcDecoder, TakesReservedParametersOfEveryFittingKind) {
  GrpcDecoder decoder;
  const RequestParameters& parameters = decoder.header().parameters;
  for (const std::string& value : {IntValue(5), UintValue(5)}) {
    ASSERT_TRUE(
        Decode(decoder, kModel + Parameter(4, "priority", value) + Parameter(4, "timeout", value)).ok());
    EXPECT_EQ(parameters.priority, 5);
    EXPECT_EQ(parameters.timeout_us, 5);
  }
  ASSERT_TRUE(Decode(decoder, kModel + Parameter(4, "timeout", IntValue(0)) +
                                  Parameter(4, "priority", UintValue(INT64_MAX)) +
                                  Parameter(4, "binary_data_output", BoolValue(true)) +
                                  Parameter(4, "return_features", BoolValue(true)))
                  .ok());
  EXPECT_FALSE(parameters.timeout_us.has_value());
  EXPECT_EQ(parameters.priority, INT32_MAX);
  EXPECT_TRUE(parameters.binary_output);
  EXPECT_TRUE(parameters.return_features);
  EXPECT_TRUE(parameters.cache);
  for (const bool cache : {false, true, false}) {
    ASSERT_TRUE(Decode(decoder, kModel + Parameter(4, "cache", BoolValue(cache))).ok());
    EXPECT_EQ(parameters.cache, cache);
  }
  ASSERT_TRUE(Decode(decoder, kModel).ok());
  EXPECT_TRUE(parameters.cache);
  // Those that are not reserved may be anything.
  for (const std::string& value : {IntValue(-1), UintValue(UINT64_MAX), RealValue(0.5), TextValue("x"),
                                   BoolValue(true), std::string()}) {
    EXPECT_TRUE(Decode(decoder, kModel + Parameter(4, "mine", value) + OneInput(Parameter(4, "mine", value)) +
                                    Output(Bytes(1, "y") + Parameter(2, "mine", value)))
                    .ok());
  }
}

TEST(GrpcDecoder, BoundsCountsAndNames) {
  const auto ninth = [](std::string_view key) { return Parameter(4, key, IntValue(1)); };
  const std::string a = Output(Bytes(1, "a"));
  ExpectRefused(
      {
          {kModel + a + Output(Bytes(1, "b")) + Output(Bytes(1, "c")), "outputs[2]: too many outputs"},
          {kModel + OneInput() + Input("y", "FP32", {0}) + Input("z", "FP32", {0}),
           "inputs[2]: too many inputs"},
          {kModel + Raw("") + Raw("") + Raw(""), "raw_input_contents: more than 2"},
          {Model("123456789"), "model_name: expected at most 8 bytes, got 9"},
          {kModel + Id("123456789"), "id: expected at most 8 bytes, got 9"},
          {kModel + Input("123456789", "FP32", {0}), "inputs[0].name: expected at most 8 bytes"},
          {kModel + Input("x", "123456789", {0}), "inputs[0].datatype: expected at most 8 bytes"},
          {kModel + Output(Bytes(1, "123456789")), "outputs[0].name: expected at most 8 bytes"},
          {kModel + ninth("123456789"), "parameters: a key of 9 bytes is too long"},
          {kModel + OneInput(ninth("123456789")), "inputs[0].parameters: a key of 9 bytes"},
          {kModel + Version("1234567890123456789012"), "model_version: expected a whole number of 1 or more"},
      },
      {.max_tensors = 2, .max_name_bytes = 8});
  GrpcDecoder decoder({.max_tensors = 2, .max_name_bytes = 8});
  EXPECT_TRUE(Decode(decoder, Model("12345678") + Id("12345678") + ninth("12345678") + OneInput() +
                                  Input("12345678", "FP32", {0}) + a)
                  .ok());
}

TEST(GrpcDecoder, TakesTheLastOfAScalar) {
  GrpcDecoder decoder;
  Decoded decoded;
  const std::string first = Model(std::string(2000, 'x')) + Version("no") + Id("1");
  const std::string names = Bytes(1, "a") + Bytes(2, "FP8");
  const std::string input =
      Bytes(5, names + Bytes(1, "x") + Bytes(2, "INT32") + Number(3, 1) + Contents(Number(2, 6)));
  ASSERT_TRUE(Decode(decoder,
                     first + input + kModel + Version("2") + Id("2") + Output(Bytes(1, "a") + Bytes(1, "y")),
                     &decoded)
                  .ok());
  EXPECT_EQ(decoder.model_name(), "m");
  EXPECT_EQ(decoder.model_version(), 2);
  EXPECT_EQ(decoder.header().id, "2");
  EXPECT_EQ(decoder.header().inputs[0].name, "x");
  EXPECT_EQ(decoder.header().outputs[0].name, "y");
  EXPECT_THAT(decoded.Values<int32_t>(0), ElementsAre(6));
  // An empty one that comes last is as if there were none.
  ASSERT_TRUE(Decode(decoder, kModel + Version("2") + Id("2") + Version("") + Id("")).ok());
  EXPECT_EQ(decoder.model_version(), 0);
  EXPECT_EQ(decoder.header().id, "");
}

TEST(GrpcDecoder, TakesTheLastOfAKeyAndOfAOneof) {
  GrpcDecoder decoder;
  const auto timeout = [&](const std::string& fields) {
    const Status status = Decode(decoder, kModel + fields);
    EXPECT_TRUE(status.ok()) << status.message();
    return decoder.header().parameters.timeout_us;
  };
  const auto entry = [](const std::string& fields) { return Bytes(4, fields); };
  const std::string key = Bytes(1, "timeout");
  EXPECT_EQ(timeout(Parameter(4, "timeout", TextValue("x")) + Parameter(4, "timeout", IntValue(2))), 2);
  EXPECT_EQ(timeout(Parameter(4, "timeout", RealValue(1) + TextValue("x") + BoolValue(true) + UintValue(3))),
            3);
  EXPECT_EQ(timeout(entry(Bytes(1, "other") + Bytes(2, IntValue(4)) + key)), 4);  // the last key
  // Values of one entry merge; those of two do not.
  EXPECT_EQ(timeout(entry(Bytes(2, IntValue(4)) + key + Bytes(2, "") + Number(9, 9))), 4);
  EXPECT_EQ(timeout(entry(Bytes(2, IntValue(4)) + key + Bytes(2, UintValue(5)))), 5);
  EXPECT_THAT(
      Decode(decoder, kModel + Parameter(4, "timeout", IntValue(2)) + Parameter(4, "timeout", "")).message(),
      HasSubstr("parameters.timeout: expected a whole number"));
  EXPECT_THAT(Decode(decoder, kModel + entry(key)).message(), HasSubstr("expected a whole number"));
  EXPECT_EQ(timeout(entry("") + entry(Bytes(2, IntValue(1)))), std::nullopt);  // of the key ""
}

TEST(GrpcDecoder, ReadsFieldsInAnyOrderAndForm) {
  const std::string unknown =
      Number(99, 1) + Fixed(98, uint64_t{1}) + Bytes(97, "\xff") + Fixed(96, uint32_t{1});
  const std::string input =
      Bytes(5, unknown + Contents(Bytes(6, Lying({1.0F, 2.0F}))) + Number(3, 2) + Bytes(2, "FP32") + unknown +
                   Packed(3, {}) + Contents(unknown + Fixed(6, 3.0F)) + Packed(3, {1, 2}) + Bytes(1, "x") +
                   Contents(Fixed(6, 4.0F)));
  const std::string message = Output(unknown + Bytes(1, "y")) + unknown + input + Id("7") + unknown +
                              Bytes(4, unknown + Bytes(1, "priority") + Bytes(2, unknown + IntValue(1))) +
                              kModel;
  GrpcDecoder decoder;
  Decoded decoded;
  const Status status = Decode(decoder, message, &decoded);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(decoder.header().inputs[0].shape, (Shape{2, 1, 2}));
  EXPECT_EQ(decoder.header().parameters.priority, 1);
  EXPECT_THAT(decoded.Values<float>(0), ElementsAre(1, 2, 3, 4));
  // Raw contents may come before the inputs that they are of.
  decoded = {};
  ASSERT_TRUE(Decode(decoder,
                     Raw("\1") + Input("a", "UINT8", {1}) + kModel + Input("b", "UINT8", {1}) + Raw("\2"),
                     &decoded)
                  .ok());
  EXPECT_THAT(decoded.Values<uint8_t>(0), ElementsAre(1));
  EXPECT_THAT(decoded.Values<uint8_t>(1), ElementsAre(2));
}

TEST(GrpcDecoder, TakesAFieldOfAnotherWireTypeAsUnknown) {
  const std::string others =
      Number(1, 1) + Number(2, 1) + Number(4, 1) + Number(5, 1) + Fixed(3, uint64_t{1});
  GrpcDecoder decoder;
  Decoded decoded;
  const Status status =
      Decode(decoder,
             others + kModel + Number(6, 1) + Number(7, 1) + Id("7") +
                 Parameter(4, "timeout", IntValue(1) + Bytes(2, "\xff") + Fixed(1, uint32_t{1})) +
                 Bytes(5, others + Bytes(1, "x") + Bytes(2, "FP32") + Number(3, 1) +
                              Contents(Number(6, 1) + Fixed(6, 1.0) + Fixed(6, 2.5F) + Fixed(1, 1.0F))),
             &decoded);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(decoder.header().id, "7");
  EXPECT_EQ(decoder.header().parameters.timeout_us, 1);
  EXPECT_THAT(decoded.Values<float>(0), ElementsAre(2.5));
}

TEST(GrpcDecoder, TakesNumbersThatAreLongerThanNeedBe) {
  const std::string id = Varint(TagOf(3, WireType::kBytes), 5) + Varint(1, 5) + "7";
  const std::string shape = Varint(TagOf(3, WireType::kVarint), 4) + Varint(2, 10);
  GrpcDecoder decoder;
  Decoded decoded;
  ASSERT_TRUE(Decode(decoder,
                     kModel + id +
                         Bytes(5, Bytes(1, "x") + Bytes(2, "UINT8") + shape +
                                      Contents(Bytes(4, Varint(7, 10) + Varint(200, 9)))),
                     &decoded)
                  .ok());
  EXPECT_EQ(decoder.header().id, "7");
  EXPECT_THAT(decoded.Values<uint8_t>(0), ElementsAre(7, 200));
}

// Where a cut falls between two of the request's fields, what is left is a request too, though a lesser one.
TEST(GrpcDecoder, RefusesARequestCutWithinAField) {
  const std::vector<std::string> fields = {
      kModel,
      Version("1"),
      Id("some id"),
      Parameter(4, "timeout", IntValue(1000)),
      Input("x", "BYTES", {2}, Contents(Bytes(8, "ab") + Bytes(8, "c"))),
      Input("y", "INT64", {2}, Contents(Packed(3, {1, -1}))),
      Output(Bytes(1, "z") + Parameter(2, "classification", UintValue(1)))};
  std::string message;
  GrpcDecoder decoder;
  for (const std::string& field : fields) {
    for (size_t kept = 1; kept < field.size(); ++kept) {
      const Status status = Decode(decoder, message + field.substr(0, kept));
      EXPECT_THAT(status.message(), HasSubstr("the request: malformed protobuf")) << field << " " << kept;
    }
    message += field;
    EXPECT_TRUE(Decode(decoder, message).ok());
  }
}

// One byte short at every depth, lengths outside of it adjusted.
TEST(GrpcDecoder, RefusesWhatIsCutWithinAMessage) {
  const std::string contents = Bytes(6, Lying({1.0F}));
  const std::string input = Bytes(1, "x") + Bytes(2, "FP32") + Packed(3, {1});
  const std::string value = IntValue(1000);
  GrpcDecoder decoder;
  for (size_t cut = 1; cut < contents.size(); ++cut) {
    EXPECT_FALSE(Decode(decoder, kModel + Bytes(5, input + Contents(contents.substr(cut)))).ok()) << cut;
    EXPECT_FALSE(
        Decode(decoder, kModel + Bytes(5, input + Contents(contents.substr(0, contents.size() - cut)))).ok())
        << cut;
  }
  for (size_t cut = 1; cut < value.size(); ++cut) {
    EXPECT_FALSE(Decode(decoder, kModel + Parameter(4, "mine", value.substr(0, value.size() - cut))).ok());
  }
}

}  // namespace
}  // namespace falaj::wire::test

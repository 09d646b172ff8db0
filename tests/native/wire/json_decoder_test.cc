#include "wire/json_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/tensors.h"

namespace falaj::wire::test {
namespace {

using testing::HasSubstr;

// What was decoded, with the memory that it stands on.
struct Decoded {
  std::vector<OwnedTensor> tensors;
  std::vector<std::byte> payload;
};

// Parses and fills; the first failure.
Status Decode(JsonDecoder& decoder, std::string json, const std::string& blobs = "",
              Decoded* into = nullptr) {
  const size_t length = json.size();
  json.append(JsonDecoder::kPadding, ' ');
  FALAJ_RETURN_IF_ERROR(
      decoder.Parse(std::string_view(json).substr(0, length), std::as_bytes(std::span(blobs))));
  Decoded own;
  Decoded& decoded = into != nullptr ? *into : own;
  std::vector<TensorView> views;
  for (const InputHeader& input : decoder.header().inputs) {
    decoded.tensors.emplace_back(input.type, input.shape);
    views.push_back(decoded.tensors.back().view);
  }
  decoded.payload.resize(decoder.PayloadBytes() + 1);
  return decoder.Fill(views, decoded.payload.data());
}

std::string Input(const std::string& type, const std::string& shape, const std::string& data) {
  return R"({"inputs":[{"name":"x","shape":)" + shape + R"(,"datatype":")" + type + R"(","data":)" + data +
         "}]}";
}

TEST(JsonDecoder, IsNotCompletedByWhatFollowsWhenItIsCutShort) {
  const std::string whole = Input("FP32", "[1]", "[1]");
  JsonDecoder decoder;
  for (size_t length = 0; length <= whole.size(); ++length) {
    std::string padded = whole + std::string(JsonDecoder::kPadding, '}');
    float value = 0;
    const TensorView view{DataType::kFp32, Shape{1}, &value};
    Status status = decoder.Parse(std::string_view(padded).substr(0, length), {});
    if (status.ok()) status = decoder.Fill(std::span(&view, 1), nullptr);
    EXPECT_EQ(status.ok(), length == whole.size()) << length;
    EXPECT_EQ(padded, whole + std::string(JsonDecoder::kPadding, '}')) << "put back";
  }
}

// `parameters` of an input without data of its own.
std::string Shared(const std::string& parameters, const std::string& more = "") {
  return R"({"inputs":[{"name":"x","shape":[2],"datatype":"FP32","parameters":{)" + parameters + "}" + more +
         "}]}";
}

struct Case {
  std::string json;
  std::string message;
};

TEST(JsonDecoder, SaysWhatIsWrongAndWhere) {
  const std::vector<Case> cases = {
      {"", "the request"},
      {"[]", "expected a JSON object"},
      {"{}", "`inputs` is missing"},
      {R"({"inputs":[]} {})", "something follows"},
      {R"({"inputs":[],"inputs":[]})", "`inputs` is there twice"},
      {R"({"inputs":{}})", "inputs: expected an array"},
      {R"({"inputs":[1]})", "inputs[0]: expected an object"},
      {R"({"inputs":[{"shape":[1],"datatype":"FP32","data":[1]}]})", "inputs[0].name is missing"},
      {R"({"inputs":[{"name":"x","datatype":"FP32","data":[1]}]})", "inputs[0].shape is missing"},
      {R"({"inputs":[{"name":"x","shape":[1],"data":[1]}]})", "inputs[0].datatype is missing"},
      {R"({"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]})", "got neither"},
      {R"({"inputs":[{"name":"x","name":"y"}]})", "inputs[0].name is there twice"},
      {Input("FP8", "[1]", "[1]"), "unknown data type 'FP8'"},
      {Input("FP32", "[-1]", "[1]"), "inputs[0].shape[0]: expected a whole number"},
      {Input("FP32", "[1.5]", "[1]"), "inputs[0].shape[0]: expected a whole number"},
      {Input("FP32", "[9223372036854775807,9]", "[1]"), "is too large"},
      {Input("FP32", "[1,1,1,1,1,1,1,1,1]", "[1]"), "more than 8 dimensions"},
      {Input("FP32", "[3]", "[1,2]"), "inputs[0].data: expected 3 elements for shape [3], got 2"},
      {Input("FP32", "[2]", "[1,2,3]"), "expected 2 elements for shape [2], got more"},
      {Input("FP32", "[1]", "1"), "inputs[0].data: expected an array"},
      {Input("FP32", "[1]", "[\"1\"]"), "inputs[0].data[0]: expected FP32, got \"1\""},
      {Input("FP32", "[1]", "[null]"), "expected FP32, got null"},
      {Input("FP32", "[1]", "[1e39]"), "out of its range"},
      {Input("FP32", "[1]", "[-Infinit]"), "inputs[0].data[0]"},
      {Input("FP16", "[1]", "[65520]"), "expected FP16, got 65520, which is out of its range"},
      {Input("BF16", "[1]", "[3.5e38]"), "out of its range"},
      {Input("FP64", "[1]", "[1e400]"), "inputs[0].data[0]"},
      {Input("INT8", "[2]", "[1,128]"),
       "inputs[0].data[1]: expected INT8, got 128, which is out of its range"},
      {Input("UINT8", "[1]", "[-1]"), "expected UINT8, got -1"},
      {Input("UINT64", "[1]", "[18446744073709551616]"), "out of its range"},
      {Input("INT64", "[1]", "[9223372036854775808]"), "out of its range"},
      {Input("INT32", "[1]", "[1.0]"), "expected INT32, got 1.0"},
      {Input("BOOL", "[1]", "[1]"), "expected BOOL, got 1"},
      {Input("BYTES", "[1]", "[1]"), "expected BYTES, got 1"},
      {Input("FP32", "[1]", "[01]"), "inputs[0].data[0]"},
      {Input("FP32", "[2]", "[1 2]"), "inputs[0].data[1]"},
      {R"({"parameters":{"triton_x":1},"inputs":[]})", "reserved"},
      {R"({"parameters":{"x":[1]},"inputs":[]})", "parameters.x: expected a string, number or bool"},
      {R"({"parameters":{"x":null},"inputs":[]})", "expected a string, number or bool"},
      {R"({"parameters":{"timeout":-1},"inputs":[]})", "parameters.timeout: expected a whole number"},
      {R"({"parameters":{"sequence_id":-7},"inputs":[]})",
       "parameters.sequence_id: expected a whole number of 0 or more, or a string"},
      {R"({"parameters":{"sequence_id":1.5},"inputs":[]})", "parameters.sequence_id"},
      {R"({"parameters":{"sequence_id":true},"inputs":[]})", "parameters.sequence_id"},
      {R"({"parameters":{"sequence_start":1},"inputs":[]})", "parameters.sequence_start"},
      {R"({"parameters":{"sequence_end":"yes"},"inputs":[]})", "parameters.sequence_end"},
      {R"({"parameters":{"cache":0},"inputs":[]})", "parameters.cache: expected true or false"},
      {R"({"parameters":{"cache":"false"},"inputs":[]})", "parameters.cache: expected true or false"},
      {R"({"id":7,"inputs":[]})", "id: expected a string"},
      {Shared(R"("shared_memory_byte_size":8)"), "inputs[0].parameters.shared_memory_region is missing"},
      {Shared(R"("shared_memory_offset":8)"), "inputs[0].parameters.shared_memory_region is missing"},
      {Shared(R"("shared_memory_region":"r")"), "inputs[0].parameters.shared_memory_byte_size is missing"},
      {Shared(R"("shared_memory_region":"","shared_memory_byte_size":8)"), "expected a region's name"},
      {Shared(R"("shared_memory_region":7,"shared_memory_byte_size":8)"), "region: expected a string"},
      {Shared(R"("shared_memory_region":"r","shared_memory_byte_size":-8)"), "expected a whole number"},
      {Shared(R"("shared_memory_region":"r","shared_memory_byte_size":8)", R"(,"data":[1,2])"),
       "got a shared_memory_region too"},
      {Shared(R"("shared_memory_region":"r","shared_memory_byte_size":8,"binary_data_size":0)"),
       "got a shared_memory_region too"},
      {R"({"inputs":[],"outputs":[{"name":"y","parameters":{"shared_memory_region":"r"}}]})",
       "outputs[0].parameters.shared_memory_byte_size is missing"},
      {R"({"inputs":[],"outputs":[{"name":"y"},{"name":"y"}]})", "outputs[1]: output 'y' is there twice"},
      {R"({"inputs":[],"outputs":[{}]})", "outputs[0].name is missing"},
      {R"({"inputs":[],"more":[1 2]})", "more"},
      {R"({"inputs":[],"more":nul})", "more"},
      {"{\"inputs\":[],\"id\":\"\xff\"}", "UTF-8"},
  };
  JsonDecoder decoder;
  for (const Case& c : cases) {
    const Status status = Decode(decoder, c.json);
    EXPECT_FALSE(status.ok()) << c.json;
    EXPECT_THAT(status.message(), HasSubstr(c.message)) << c.json;
  }
}

TEST(JsonDecoder, ReadsWhatComesInAnyOrderAndNesting) {
  JsonDecoder decoder;
  Decoded decoded;
  const Status status = Decode(decoder, R"({"outputs":[{"parameters":{"classification":3},"name":"y"}],
    "inputs":[{"data":[[1,2],[3.5,-4e1]],"datatype":"FP32","extra":{"a":[{}]},"name":"\u0078","shape":[2,2]},
              {"shape":[],"data":["a\u0000b"],"name":"s","datatype":"BYTES"}],
    "parameters":{"priority":2,"timeout":1500,"mine":"x","binary_data_output":true,"return_features":true},"id":"7"})",
                               "", &decoded);
  ASSERT_TRUE(status.ok()) << status.message();
  const InferHeader& header = decoder.header();
  EXPECT_EQ(header.id, "7");
  EXPECT_EQ(header.parameters.priority, 2);
  EXPECT_EQ(header.parameters.timeout_us, 1500);
  EXPECT_TRUE(header.parameters.binary_output);
  EXPECT_TRUE(header.parameters.return_features);
  EXPECT_EQ(header.inputs[0].name, "x");
  EXPECT_EQ(header.outputs[0].name, "y");
  EXPECT_EQ(header.outputs[0].classification, 3);
  EXPECT_FALSE(header.outputs[0].binary.has_value());
  const auto* x = static_cast<const float*>(decoded.tensors[0].view.data);
  EXPECT_EQ(std::vector<float>(x, x + 4), (std::vector<float>{1, 2, 3.5, -40}));
  EXPECT_EQ(*static_cast<std::string_view*>(decoded.tensors[1].view.data), std::string_view("a\0b", 3));
}

TEST(JsonDecoder, TakesSequenceIdsThatAreNumbersOrTexts) {
  JsonDecoder decoder;
  const RequestParameters& parameters = decoder.header().parameters;
  ASSERT_TRUE(Decode(decoder, R"({"parameters":{"sequence_id":18446744073709551615,"sequence_start":true,
    "sequence_end":true},"inputs":[]})")
                  .ok());
  EXPECT_EQ(parameters.sequence_number, UINT64_MAX);
  EXPECT_EQ(parameters.sequence_text, "");
  EXPECT_TRUE(parameters.sequence_start);
  EXPECT_TRUE(parameters.sequence_end);
  ASSERT_TRUE(
      Decode(decoder, R"({"parameters":{"sequence_id":1,"sequence_id":"tram\u00207"},"inputs":[]})").ok());
  EXPECT_EQ(parameters.sequence_number, 0u);
  EXPECT_EQ(parameters.sequence_text, "tram 7");
  EXPECT_FALSE(parameters.sequence_start);
}

TEST(JsonDecoder, LeavesTheCacheOnUnlessItIsToldOtherwise) {
  JsonDecoder decoder;
  const bool& cache = decoder.header().parameters.cache;
  ASSERT_TRUE(Decode(decoder, R"({"parameters":{"cache":false},"inputs":[]})").ok());
  EXPECT_FALSE(cache);
  ASSERT_TRUE(Decode(decoder, R"({"parameters":{"cache":true},"inputs":[]})").ok());
  EXPECT_TRUE(cache);
  ASSERT_TRUE(Decode(decoder, R"({"parameters":{"cache":false},"inputs":[]})").ok());
  ASSERT_TRUE(Decode(decoder, R"({"inputs":[]})").ok());
  EXPECT_TRUE(cache);
}

// Of a number with 20 digits or more behind "0.", simdjson 3.0 makes another one.
TEST(JsonDecoder, RoundsNumbersOfManyDigits) {
  JsonDecoder decoder;
  for (const std::string& rest : {std::string("1]"), std::string("NaN]")}) {  // by either reader
    Decoded decoded;
    ASSERT_TRUE(
        Decode(decoder, Input("FP64", "[2]", "[0.123456789012345654740993," + rest), "", &decoded).ok());
    EXPECT_EQ(*static_cast<const double*>(decoded.tensors[0].view.data), 0.123456789012345654740993);
  }
}

TEST(JsonDecoder, CutsBinaryTensorsInTheOrderOfTheInputs) {
  JsonDecoder decoder;
  Decoded decoded;
  const std::string json = R"({"inputs":[
    {"name":"a","shape":[2],"datatype":"UINT8","parameters":{"binary_data_size":2}},
    {"name":"b","shape":[1],"datatype":"INT64","data":[5]},
    {"name":"c","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}]})";
  const std::string blobs("\7\10\2\0\0\0hi", 8);
  ASSERT_TRUE(Decode(decoder, json, blobs, &decoded).ok());
  EXPECT_EQ(static_cast<uint8_t*>(decoded.tensors[0].view.data)[1], 8);
  EXPECT_EQ(*static_cast<int64_t*>(decoded.tensors[1].view.data), 5);
  EXPECT_EQ(decoder.header().inputs[2].binary_bytes, 6u);
  EXPECT_THAT(Decode(decoder, json, blobs + "x").message(), HasSubstr("1 bytes of the body are left over"));
  EXPECT_THAT(Decode(decoder, json, blobs.substr(0, 5)).message(), HasSubstr("inputs[2].parameters"));
}

TEST(JsonDecoder, ReadsPlacesInSharedMemory) {
  JsonDecoder decoder;
  Decoded decoded;
  const Status status = Decode(decoder, R"({"inputs":[
      {"name":"a","shape":[2],"datatype":"BYTES",
       "parameters":{"shared_memory_byte_size":64,"shared_memory_region":"\u0072"}},
      {"name":"b","shape":[2],"datatype":"FP32","data":[1,2]},
      {"name":"c","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":1}}],
    "outputs":[{"name":"y","parameters":{"shared_memory_region":"q","shared_memory_byte_size":9,
                                         "shared_memory_offset":7}},{"name":"z"}]})",
                               "\7", &decoded);
  ASSERT_TRUE(status.ok()) << status.message();
  const InferHeader& header = decoder.header();
  ASSERT_TRUE(header.inputs[0].shared.has_value());
  EXPECT_EQ(header.inputs[0].shared->region, "r");
  EXPECT_EQ(header.inputs[0].shared->offset, 0u);
  EXPECT_EQ(header.inputs[0].shared->bytes, 64u);
  EXPECT_FALSE(header.inputs[1].shared.has_value());
  EXPECT_EQ(decoder.PayloadBytes(), 0u);
  EXPECT_EQ(static_cast<const float*>(decoded.tensors[1].view.data)[1], 2);
  EXPECT_EQ(static_cast<const uint8_t*>(decoded.tensors[2].view.data)[0], 7);
  ASSERT_TRUE(header.outputs[0].shared.has_value());
  EXPECT_EQ(header.outputs[0].shared->region, "q");
  EXPECT_EQ(header.outputs[0].shared->offset, 7u);
  EXPECT_EQ(header.outputs[0].shared->bytes, 9u);
  EXPECT_FALSE(header.outputs[1].shared.has_value());
}

TEST(JsonDecoder, BoundsNestingAndCounts) {
  JsonDecoder decoder({.max_tensors = 2, .max_depth = 5, .max_name_bytes = 8});
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') + "1" + std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_TRUE(Decode(decoder, Input("FP32", "[1]", nested(5))).ok());
  EXPECT_THAT(Decode(decoder, Input("FP32", "[1]", nested(6))).message(), HasSubstr("nested deeper than 5"));
  EXPECT_TRUE(Decode(decoder, R"({"inputs":[],"more":)" + nested(4) + "}").ok());
  EXPECT_THAT(Decode(decoder, R"({"inputs":[],"more":)" + nested(100'000) + "}").message(),
              HasSubstr("too deep"));
  EXPECT_THAT(
      Decode(decoder, R"({"inputs":[],"outputs":[{"name":"a"},{"name":"b"},{"name":"c"}]})").message(),
      HasSubstr("outputs[2]: too many"));
  EXPECT_THAT(Decode(decoder, R"({"inputs":[],"id":"123456789"})").message(), HasSubstr("at most 8 bytes"));
}

}  // namespace
}  // namespace falaj::wire::test

// The JSON and binary codecs against each other: what is encoded decodes to the same values.
#include <gtest/gtest.h>

#include "wire/binary_tensor.h"
#include "wire/json_decoder.h"
#include "wire/json_encoder.h"
#include "wire/tensors.h"

namespace falaj::wire::test {
namespace {

// A reply reads as a request when its outputs are called inputs.
std::string AsRequest(std::string reply) {
  const size_t at = reply.find("\"outputs\":[");
  return reply.replace(at, 11, "\"inputs\":[");
}

// Decodes `body`, whose JSON part is `json_bytes` long, and compares with what was encoded.
void ExpectDecodes(JsonDecoder& decoder, const std::string& body, size_t json_bytes,
                   const std::vector<OwnedTensor>& expected) {
  std::string padded = body;
  padded.append(JsonDecoder::kPadding, '\xEE');
  const auto blobs = std::as_bytes(std::span(padded)).subspan(json_bytes, body.size() - json_bytes);
  const Status parsed = decoder.Parse(std::string_view(padded).substr(0, json_bytes), blobs);
  ASSERT_TRUE(parsed.ok()) << parsed.message() << "\n" << body;
  ASSERT_EQ(decoder.header().inputs.size(), expected.size());
  std::vector<OwnedTensor> decoded;
  std::vector<TensorView> views;
  for (const InputHeader& input : decoder.header().inputs) {
    decoded.emplace_back(input.type, input.shape);
    views.push_back(decoded.back().view);
  }
  std::vector<std::byte> payload(decoder.PayloadBytes() + 1);
  const Status filled = decoder.Fill(views, payload.data());
  ASSERT_TRUE(filled.ok()) << filled.message() << "\n" << body;
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(Same(views[i], expected[i].view)) << DataTypeName(views[i].type) << "\n" << body;
  }
}

TEST(Codec, WhatIsInSharedMemoryIsNotInTheAnswer) {
  std::mt19937_64 random(12);
  const OwnedTensor tensor = RandomTensor(random, DataType::kBytes, Shape{3});
  const SharedPlace place{"\"r", 16, BinaryBytes(tensor.view)};
  const std::array outputs = {OutputTensor{"y", tensor.view, true, &place}};
  std::string body;
  const auto encoded = EncodeReply({"m", 1, "", outputs}, body);
  ASSERT_TRUE(encoded.ok());
  EXPECT_FALSE(encoded.value().binary);
  EXPECT_EQ(body,
            R"({"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"BYTES","shape":[3],)"
            R"("parameters":{"shared_memory_region":"\"r","shared_memory_offset":16,)"
            R"("shared_memory_byte_size":)" +
                std::to_string(place.bytes) + "}}]}");
}

TEST(Codec, WrittenFormsAreThoseThatAreAppendedAndAdopted) {
  std::mt19937_64 random(13);
  for (int round = 0; round < 500; ++round) {
    const DataType type = kAllTypes[random() % kAllTypes.size()];
    const OwnedTensor tensor = RandomTensor(random, type, RandomShape(random));
    std::string appended;
    AppendBinary(tensor.view, appended);
    std::vector<std::byte> written(BinaryBytes(tensor.view));
    WriteBinary(tensor.view, written.data());
    ASSERT_EQ(written.size(), appended.size());
    ASSERT_TRUE(std::ranges::equal(written, std::as_bytes(std::span(appended))));
    OwnedTensor adopted(type, tensor.view.shape);
    if (type != DataType::kBytes) adopted.view.data = written.data();
    ASSERT_TRUE(AdoptBinary(written, adopted.view).ok());
    ASSERT_TRUE(Same(adopted.view, tensor.view));
    written.push_back(std::byte{1});
    ASSERT_FALSE(AdoptBinary(written, adopted.view).ok());
  }
}

TEST(Codec, WhatIsEncodedDecodesToTheSame) {
  std::mt19937_64 random(11);
  JsonDecoder decoder;
  for (int round = 0; round < 4000; ++round) {
    std::vector<OwnedTensor> tensors;
    std::vector<std::string> names;
    const size_t count = 1 + random() % 3;
    for (size_t i = 0; i < count; ++i) {
      tensors.push_back(RandomTensor(random, kAllTypes[random() % kAllTypes.size()], RandomShape(random)));
      names.push_back(std::to_string(i) + RandomUtf8(random));
    }
    std::vector<OutputTensor> outputs;
    for (size_t i = 0; i < count; ++i) outputs.push_back({names[i], tensors[i].view, random() % 2 == 0});
    std::string body;
    const auto encoded = EncodeReply({"m", 1, "", outputs}, body);
    ASSERT_TRUE(encoded.ok());
    const size_t shorter = sizeof("outputs") - sizeof("inputs");
    ExpectDecodes(decoder, AsRequest(body), encoded.value().json_bytes - shorter, tensors);
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(decoder.header().inputs[i].name, names[i]);
    ASSERT_FALSE(testing::Test::HasFatalFailure());
  }
}

TEST(Codec, EveryHalfComesBackFromJson) {
  for (const DataType type : {DataType::kFp16, DataType::kBf16}) {
    OwnedTensor all(type, Shape{65536});
    auto* values = static_cast<uint16_t*>(all.view.data);
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      const auto half = static_cast<uint16_t>(bits);
      const float wide = type == DataType::kFp16 ? FloatOfHalf(half) : FloatOfBrain(half);
      values[bits] = std::isnan(wide) ? uint16_t{0} : half;
    }
    std::vector<OwnedTensor> expected;
    expected.push_back(std::move(all));
    const OutputTensor output{"y", expected[0].view, false};
    std::string body;
    const auto encoded = EncodeReply({"m", 1, "", std::span(&output, 1)}, body);
    ASSERT_TRUE(encoded.ok());
    JsonDecoder decoder;
    const std::string request = AsRequest(body);
    ExpectDecodes(decoder, request, request.size(), expected);
  }
}

TEST(Binary, StringsWhoseLengthsDoNotAddUpAreRefused) {
  const std::string good("\2\0\0\0ab\0\0\0\0", 10);
  const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  EXPECT_EQ(CountCharacters(bytes(good), 2).value(), 2u);
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_EQ(CountCharacters(bytes(good.substr(0, length)), 2).status().code(), Code::kInvalidInput)
        << length;
  }
  EXPECT_FALSE(CountCharacters(bytes(good + "x"), 2).ok());
  EXPECT_FALSE(CountCharacters(bytes(std::string("\xff\xff\xff\xff", 4)), 1).ok());
}

TEST(Binary, SizesAndTruthsMustFit) {
  OwnedTensor tensor(DataType::kBool, Shape{2});
  std::byte* payload = nullptr;
  const auto read = [&](const std::string& blob) {
    return ReadBinary(std::as_bytes(std::span(blob)), tensor.view, payload);
  };
  EXPECT_TRUE(read(std::string("\1\0", 2)).ok());
  EXPECT_NE(read("\1").message().find("expected 2 bytes for BOOL [2], got 1"), std::string::npos);
  EXPECT_NE(read("\1\2").message().find("BOOL element 1: expected 0 or 1, got 2"), std::string::npos);
}

TEST(JsonEncoder, SaysThatFeaturesAreStale) {
  std::string body;
  ASSERT_TRUE(EncodeReply({"m", 1, "", {}, true}, body).ok());
  EXPECT_EQ(body,
            R"({"model_name":"m","model_version":"1","parameters":{"features_stale":true},"outputs":[]})");
}

}  // namespace
}  // namespace falaj::wire::test

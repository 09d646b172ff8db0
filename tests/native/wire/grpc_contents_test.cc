#include "wire/grpc_contents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/infer_messages.h"

namespace falaj::wire::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The one input of a request, read by the decoder: `contents` are the fields of InferTensorContents.
Status DecodeTyped(DataType type, std::initializer_list<int64_t> shape, std::string_view contents,
                   Decoded* into = nullptr) {
  GrpcDecoder decoder;
  return Decode(decoder, Model("m") + Input("x", DataTypeName(type), shape, Contents(contents)), into);
}

template <typename T>
std::vector<T> Typed(DataType type, int64_t elements, std::string_view contents) {
  Decoded decoded;
  const Status status = DecodeTyped(type, {elements}, contents, &decoded);
  EXPECT_TRUE(status.ok()) << status.message();
  return status.ok() ? decoded.Values<T>(0) : std::vector<T>();
}

// In the contents' field of its type: one by one, packed, and some of both.
std::vector<std::string> Forms(const TensorView& view) {
  const auto element = [&](auto value) { return static_cast<uint64_t>(static_cast<int64_t>(value)); };
  const auto whole = [&]<typename T>(uint32_t field, const T* values) {
    std::vector<std::string> forms(3);
    std::string packed, rest;
    for (int64_t i = 0; i < view.elements(); ++i) {
      forms[0] += Number(field, element(values[i]));
      packed += Varint(element(values[i]));
      (i == 0 ? forms[2] : rest) += i == 0 ? Number(field, element(values[i])) : Varint(element(values[i]));
    }
    forms[1] = Bytes(field, packed);
    forms[2] += Bytes(field, rest);
    return forms;
  };
  const auto real = [&]<typename T>(uint32_t field, const T* values) {
    std::vector<std::string> forms(3);
    const std::string_view all(reinterpret_cast<const char*>(values), view.bytes());
    for (int64_t i = 0; i < view.elements(); ++i) forms[0] += Fixed(field, values[i]);
    const size_t half = view.bytes() / sizeof(T) / 2 * sizeof(T);
    forms[1] = Bytes(field, all);
    forms[2] = Bytes(field, all.substr(0, half)) + Bytes(field, all.substr(half));
    return forms;
  };
  switch (view.type) {
    case DataType::kBool:
      return whole(1, static_cast<const uint8_t*>(view.data));
    case DataType::kInt8:
      return whole(2, static_cast<const int8_t*>(view.data));
    case DataType::kInt16:
      return whole(2, static_cast<const int16_t*>(view.data));
    case DataType::kInt32:
      return whole(2, static_cast<const int32_t*>(view.data));
    case DataType::kInt64:
      return whole(3, static_cast<const int64_t*>(view.data));
    case DataType::kUint8:
      return whole(4, static_cast<const uint8_t*>(view.data));
    case DataType::kUint16:
      return whole(4, static_cast<const uint16_t*>(view.data));
    case DataType::kUint32:
      return whole(4, static_cast<const uint32_t*>(view.data));
    case DataType::kUint64:
      return whole(5, static_cast<const uint64_t*>(view.data));
    case DataType::kFp32:
      return real(6, static_cast<const float*>(view.data));
    case DataType::kFp64:
      return real(7, static_cast<const double*>(view.data));
    case DataType::kBytes: {
      std::string form;
      const auto* texts = static_cast<const std::string_view*>(view.data);
      for (int64_t i = 0; i < view.elements(); ++i) form += Bytes(8, texts[i]);
      return {form};
    }
    case DataType::kFp16:
    case DataType::kBf16:
      break;
  }
  return {};
}

TEST(GrpcContents, AreReadForEveryTypeAndForm) {
  std::mt19937_64 random(3);
  for (const DataType type : kAllTypes) {
    for (int round = 0; round < 20; ++round) {
      const OwnedTensor tensor = RandomTensor(random, type, Shape{static_cast<int64_t>(random() % 9)});
      for (const std::string& form : Forms(tensor.view)) {
        Decoded decoded;
        const Status status = DecodeTyped(type, {tensor.view.shape[0]}, form, &decoded);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_TRUE(Same(tensor.view, decoded.tensors[0].view)) << DataTypeName(type);
      }
    }
  }
}

TEST(GrpcContents, AreReadWholeAtTheEndsOfTheirRange) {
  EXPECT_THAT(Typed<int8_t>(DataType::kInt8, 2, Packed(2, {-128, 127})), ElementsAre(-128, 127));
  EXPECT_THAT(Typed<int16_t>(DataType::kInt16, 2, Packed(2, {-32768, 32767})), ElementsAre(-32768, 32767));
  EXPECT_THAT(Typed<uint8_t>(DataType::kUint8, 2, Packed(4, {0, 255})), ElementsAre(0, 255));
  EXPECT_THAT(Typed<uint16_t>(DataType::kUint16, 1, Packed(4, {65535})), ElementsAre(65535));
  EXPECT_THAT(Typed<uint64_t>(DataType::kUint64, 1, Packed(5, {-1})), ElementsAre(UINT64_MAX));
  EXPECT_THAT(Typed<int64_t>(DataType::kInt64, 1, Packed(3, {INT64_MIN})), ElementsAre(INT64_MIN));
}

// A field of 32 bits drops the others before its value is looked at, as libprotobuf does; bools are never
// lost.
TEST(GrpcContents, AreCutToTheWidthOfTheirField) {
  const auto past = (int64_t{1} << 32) + 5;
  EXPECT_THAT(Typed<int8_t>(DataType::kInt8, 1, Packed(2, {past})), ElementsAre(5));
  EXPECT_THAT(Typed<int32_t>(DataType::kInt32, 1, Packed(2, {int64_t{1} << 31})), ElementsAre(INT32_MIN));
  EXPECT_THAT(Typed<uint32_t>(DataType::kUint32, 2, Packed(4, {past, -1})), ElementsAre(5, UINT32_MAX));
  EXPECT_THAT(Typed<uint8_t>(DataType::kBool, 3, Packed(1, {int64_t{1} << 32, 2, 0})), ElementsAre(1, 1, 0));
}

TEST(GrpcContents, AreRefusedOutOfTheRangeOfTheirType) {
  const auto message = [](DataType type, uint32_t field, int64_t value) {
    const Status packed = DecodeTyped(type, {2}, Packed(field, {1, value}));
    const Status single =
        DecodeTyped(type, {2}, Number(field, 1) + Number(field, static_cast<uint64_t>(value)));
    EXPECT_EQ(packed.code(), Code::kInvalidInput);
    EXPECT_EQ(packed.message(), single.message());
    return packed.message();
  };
  EXPECT_EQ(message(DataType::kInt8, 2, 128),
            "inputs[0].contents.int_contents[1]: expected INT8, got 128, which is out of its range");
  EXPECT_EQ(message(DataType::kInt8, 2, -129),
            "inputs[0].contents.int_contents[1]: expected INT8, got -129, which is out of its range");
  EXPECT_THAT(message(DataType::kInt16, 2, 32768), HasSubstr("expected INT16, got 32768"));
  EXPECT_THAT(message(DataType::kInt16, 2, -32769), HasSubstr("expected INT16, got -32769"));
  EXPECT_EQ(message(DataType::kUint8, 4, 256),
            "inputs[0].contents.uint_contents[1]: expected UINT8, got 256, which is out of its range");
  EXPECT_THAT(message(DataType::kUint16, 4, 65536), HasSubstr("expected UINT16, got 65536"));
}

TEST(GrpcContents, AreRefusedWhereTheyAreNotTheShapes) {
  const auto message = [](DataType type, const std::string& contents) {
    const Status status = DecodeTyped(type, {3}, contents);
    EXPECT_EQ(status.code(), Code::kInvalidInput);
    return status.message();
  };
  EXPECT_EQ(message(DataType::kFp32, Bytes(6, Lying({1.0F, 2.0F}))),
            "inputs[0].contents.fp32_contents: expected 3 elements for shape [3], got 2");
  EXPECT_THAT(message(DataType::kFp32, Bytes(6, Lying({1.0F, 2.0F, 3.0F, 4.0F}))), HasSubstr("got 4"));
  EXPECT_THAT(message(DataType::kInt64, Packed(3, {1, 2}) + Number(3, 1) + Number(3, 1)), HasSubstr("got 4"));
  EXPECT_THAT(message(DataType::kBytes, Bytes(8, "a")),
              HasSubstr("bytes_contents: expected 3 elements for shape [3], got 1"));
  EXPECT_THAT(message(DataType::kBool, ""),
              HasSubstr("bool_contents: expected 3 elements for shape [3], got 0"));
}

TEST(GrpcContents, AreRefusedInTheFieldOfAnotherType) {
  const auto message = [](DataType type, const std::string& contents) {
    const Status status = DecodeTyped(type, {1}, contents);
    EXPECT_EQ(status.code(), Code::kInvalidInput);
    return status.message();
  };
  EXPECT_EQ(message(DataType::kInt32, Fixed(6, 1.0F)),
            "inputs[0].contents: expected int_contents for INT32, got fp32_contents");
  EXPECT_THAT(message(DataType::kUint32, Number(2, 1)),
              HasSubstr("expected uint_contents for UINT32, got int_contents"));
  EXPECT_THAT(message(DataType::kInt64, Number(3, 1) + Bytes(8, "")), HasSubstr("got bytes_contents"));
  for (const DataType type : {DataType::kFp16, DataType::kBf16}) {
    for (const std::string& contents : {Fixed(6, 1.0F), std::string()}) {
      EXPECT_THAT(message(type, contents),
                  HasSubstr(std::string("inputs[0].contents: ") + DataTypeName(type) +
                            " has no typed contents, it travels in raw_input_contents"));
    }
  }
  // A list without elements is no list.
  EXPECT_TRUE(DecodeTyped(DataType::kInt64, {1}, Number(3, 1) + Packed(2, {}) + Bytes(7, "")).ok());
}

TEST(GrpcContents, AreRefusedWhereTheyAreMalformed) {
  const auto message = [](const std::string& contents) {
    const Status status = DecodeTyped(DataType::kFp32, {1}, contents);
    EXPECT_EQ(status.code(), Code::kInvalidInput);
    return status.message();
  };
  EXPECT_THAT(message("\x0b"), HasSubstr("inputs[0].contents: malformed protobuf"));
  EXPECT_THAT(message(Bytes(6, "abcde")), HasSubstr("inputs[0].contents.fp32_contents: malformed protobuf"));
  EXPECT_THAT(message(Bytes(7, "abcd")), HasSubstr("fp64_contents: malformed protobuf"));
  EXPECT_THAT(message(Bytes(2, "\xff")), HasSubstr("int_contents: malformed protobuf"));
  EXPECT_THAT(message(Bytes(1, Varint(1, 11))), HasSubstr("bool_contents: malformed protobuf"));
}

}  // namespace
}  // namespace falaj::wire::test

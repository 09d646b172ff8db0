#include "wire/protobuf_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "wire/protobuf_bytes.h"

namespace falaj::wire::test {
namespace {

using testing::HasSubstr;

// The fields of a message, and what was wrong with it.
struct Read {
  std::vector<ProtobufField> fields;
  std::string fault;
};

Read ReadAll(const std::string& message) {
  // A copy of the exact size, so that AddressSanitizer sees a read past it.
  const std::vector<std::byte> bytes(std::as_bytes(std::span(message)).begin(),
                                     std::as_bytes(std::span(message)).end());
  Read read;
  ProtobufReader reader(bytes);
  ProtobufField field;
  while (reader.Next(field)) {
    field.bytes = {};  // they end with this function
    read.fields.push_back(field);
  }
  if (reader.fault() != nullptr) read.fault = reader.fault();
  return read;
}

TEST(ProtobufReader, ReadsEveryWireType) {
  const std::string message =
      Number(1, 300) + Fixed(2, uint64_t{5}) + Bytes(3, "abc") + Fixed(536'870'911, uint32_t{7});
  ProtobufReader reader(std::as_bytes(std::span(message)));
  ProtobufField field;
  ASSERT_TRUE(reader.Next(field));
  EXPECT_EQ(field.tag, TagOf(1, WireType::kVarint));
  EXPECT_EQ(field.value, 300u);
  ASSERT_TRUE(reader.Next(field));
  EXPECT_EQ(field.tag, TagOf(2, WireType::kFixed64));
  EXPECT_EQ(field.value, 5u);
  ASSERT_TRUE(reader.Next(field));
  EXPECT_EQ(field.tag, TagOf(3, WireType::kBytes));
  EXPECT_EQ(field.bytes.size(), 3u);
  EXPECT_EQ(std::to_integer<char>(field.bytes[2]), 'c');
  ASSERT_TRUE(reader.Next(field));
  EXPECT_EQ(field.tag, TagOf(536'870'911, WireType::kFixed32));
  EXPECT_EQ(field.value, 7u);
  EXPECT_FALSE(reader.Next(field));
  EXPECT_EQ(reader.fault(), nullptr);
}

TEST(ProtobufReader, TakesNumbersThatAreLongerThanNeedBe) {
  const std::string overlong = Varint(TagOf(1, WireType::kVarint), 5) + Varint(7, 10);
  Read read = ReadAll(overlong);
  ASSERT_EQ(read.fields.size(), 1u) << read.fault;
  EXPECT_EQ(read.fields[0].value, 7u);
  // Bits past the 64th of a value, and past the 32nd of a tag, are dropped, as libprotobuf drops them.
  const std::string past = std::string("\x88\x80\x80\x80\x10", 5) + std::string(9, '\xff') + "\x7f";
  read = ReadAll(past);
  ASSERT_EQ(read.fields.size(), 1u) << read.fault;
  EXPECT_EQ(read.fields[0].tag, TagOf(1, WireType::kVarint));
  EXPECT_EQ(read.fields[0].value, UINT64_MAX);
}

TEST(ProtobufReader, RefusesWhatIsMalformed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {Varint(TagOf(1, WireType::kVarint), 6) + Varint(7), "too long"},
      {Tag(1, WireType::kVarint) + Varint(7, 11), "too long"},
      {Tag(1, WireType::kBytes) + Varint(1, 6) + "x", "too long"},
      {Tag(1, WireType::kBytes) + Varint(2) + "x", "longer than what it is in"},
      {Tag(1, WireType::kBytes) + Varint(uint64_t{1} << 31) + "x", "longer than what it is in"},
      {Tag(1, WireType::kBytes) + Varint(UINT32_MAX) + "x", "longer than what it is in"},
      {Tag(1, WireType::kVarint), "ends within a number"},
      {Tag(1, WireType::kVarint) + "\xff", "ends within a number"},
      {Tag(1, WireType::kBytes), "ends within a number"},
      {Tag(1, WireType::kFixed32), "ends within a number"},
      {Tag(1, WireType::kFixed32) + "abc", "ends within a number"},
      {Tag(1, WireType::kFixed64) + "abcdefg", "ends within a number"},
      {std::string("\0\0", 2), "the number 0"},
      {Number(0, 1), "the number 0"},
      {"\x0b\x0c", "proto3 does not have"},  // a group of field 1
      {"\x0c", "proto3 does not have"},
      {"\x0e", "proto3 does not have"},
      {"\x0f", "proto3 does not have"},
  };
  for (const auto& [bytes, fault] : cases) {
    const Read read = ReadAll(Number(9, 1) + bytes);
    EXPECT_EQ(read.fields.size(), 1u) << fault;
    EXPECT_THAT(read.fault, HasSubstr(fault)) << testing::PrintToString(bytes);
  }
}

TEST(ProtobufReader, StaysAtItsFault) {
  const std::string message = "\x0c" + Number(1, 1);
  ProtobufReader reader(std::as_bytes(std::span(message)));
  ProtobufField field;
  EXPECT_FALSE(reader.Next(field));
  EXPECT_FALSE(reader.Next(field));
  EXPECT_NE(reader.fault(), nullptr);
}

TEST(ProtobufReader, ReadsPackedValuesToTheirEnd) {
  const std::string varints = Varint(1) + Varint(300) + Varint(UINT64_MAX);
  ProtobufReader reader(std::as_bytes(std::span(varints)));
  std::vector<uint64_t> values;
  for (uint64_t value = 0; reader.Varint(value);) values.push_back(value);
  EXPECT_EQ(reader.fault(), nullptr);
  EXPECT_EQ(values, (std::vector<uint64_t>{1, 300, UINT64_MAX}));
  const std::string cut = varints.substr(0, varints.size() - 1);
  ProtobufReader broken(std::as_bytes(std::span(cut)));
  uint64_t value = 0;
  EXPECT_TRUE(broken.Varint(value) && broken.Varint(value));
  EXPECT_FALSE(broken.Varint(value));
  EXPECT_NE(broken.fault(), nullptr);
}

}  // namespace
}  // namespace falaj::wire::test

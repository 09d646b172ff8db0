#include "wire/grpc_status.h"

#include <gtest/gtest.h>

namespace falaj::wire {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)

TEST(GrpcStatusTest, MapsEveryCodeAsTheProtocolsTableDoes) {
  const std::pair<Code, int> table[] = {
      {Code::kOk, 0},        {Code::kInvalidInput, 3},     {Code::kNotFound, 5},     {Code::kUnavailable, 14},
      {Code::kCancelled, 1}, {Code::kDeadlineExceeded, 4}, {Code::kUnsupported, 12}, {Code::kInternal, 13}};
  for (const auto& [code, number] : table) EXPECT_EQ(static_cast<int>(ToGrpcCode(code)), number);
}

TEST(GrpcStatusTest, IsUnknownWhenANumberIsNoCode) {
  EXPECT_EQ(GrpcCodeOf(16), GrpcCode::kUnauthenticated);
  EXPECT_EQ(GrpcCodeOf(17), GrpcCode::kUnknown);
  EXPECT_EQ(GrpcCodeOf(-1), GrpcCode::kUnknown);
}

TEST(GrpcStatusTest, CountsAsHttpWouldWhenACallEnds) {
  EXPECT_EQ(HttpClassOf(GrpcCode::kOk), HttpClass::kOk);
  EXPECT_EQ(HttpClassOf(GrpcCode::kNotFound), HttpClass::kClientError);
  EXPECT_EQ(HttpClassOf(GrpcCode::kResourceExhausted), HttpClass::kClientError);
  EXPECT_EQ(HttpClassOf(GrpcCode::kDeadlineExceeded), HttpClass::kServerError);
  EXPECT_EQ(HttpClassOf(GrpcCode::kUnavailable), HttpClass::kServerError);
}

TEST(GrpcStatusTest, ReadsATimeoutWhenItIsWellFormed) {
  const std::pair<const char*, Nanos> table[] = {
      {"100m", 100ms}, {"1S", 1s},  {"2M", 2min}, {"3H", 3h},
      {"5u", 5us},     {"7n", 7ns}, {"0n", 0ns},  {"99999999m", 99999999ms}};
  for (const auto& [text, expected] : table) {
    auto timeout = ParseGrpcTimeout(text);
    ASSERT_TRUE(timeout.ok()) << text;
    EXPECT_EQ(*timeout, expected) << text;
  }
}

TEST(GrpcStatusTest, ReadsACenturyWhenATimeoutPassesTheClock) {
  EXPECT_EQ(*ParseGrpcTimeout("99999999H"), Nanos(24h * 36525));
  EXPECT_GT(*ParseGrpcTimeout("99999999M"), Nanos(0));
}

TEST(GrpcStatusTest, RefusesATimeoutWhenItIsMalformed) {
  for (const char* text : {"", "1", "m", "-1m", "1.5S", "123456789m", "1 m", "1s", "1ms", "+1m"}) {
    EXPECT_FALSE(ParseGrpcTimeout(text).ok()) << text;
  }
}

TEST(GrpcStatusTest, EncodesAMessageWhenItHasOtherThanPrintableAscii) {
  std::string out;
  EncodeGrpcMessage("100% 'ok'\n\xC3\xA9", out);
  EXPECT_EQ(out, "100%25 'ok'%0A%C3%A9");
}

TEST(GrpcStatusTest, CutsAMessageBetweenCharactersWhenItIsLong) {
  std::string out;
  EncodeGrpcMessage("x" + std::string(2000, 'y'), out);
  EXPECT_EQ(out.size(), 1024u);
  std::string accents = "x";
  for (int i = 0; i < 1000; ++i) accents += "\xC3\xA9";
  EncodeGrpcMessage(accents, out);
  EXPECT_TRUE(out.ends_with("%C3%A9"));
}

TEST(GrpcStatusTest, EncodesDetailsAsAStatusMessageInBase64) {
  std::string out;
  // 08 05, 12 02 "no"
  EncodeStatusDetails({GrpcCode::kNotFound, "no"}, out);
  EXPECT_EQ(out, "CAUSAm5v");
  // 08 05, 12 01 "n": five bytes, and no padding
  EncodeStatusDetails({GrpcCode::kNotFound, "n"}, out);
  EXPECT_EQ(out, "CAUSAW4");
  EncodeStatusDetails({GrpcCode::kNotFound, ""}, out);
  EXPECT_EQ(out, "CAUSAA");
}

}  // namespace
}  // namespace falaj::wire

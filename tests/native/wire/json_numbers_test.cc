#include "wire/json_numbers.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace falaj::wire::test {
namespace {

constexpr int kDepth = 4;

// The elements, or nothing where the text is left to the slower reader.
template <typename T>
std::optional<std::vector<T>> Read(DataType type, std::string text, size_t elements) {
  const size_t size = text.size();
  text.append(16, '\0');
  std::vector<T> values(elements + 1);  // one more: a vector of none has no memory
  const TensorView view{type, Shape{static_cast<int64_t>(elements)}, values.data()};
  if (!ReadJsonNumbers(std::string_view(text).substr(0, size), view, kDepth)) return std::nullopt;
  values.pop_back();
  return values;
}

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Longs = std::vector<int64_t>;

TEST(JsonNumbers, ReadsFlatAndNestedArrays) {
  EXPECT_EQ(Read<float>(DataType::kFp32, "[1,-2.5,3e2]", 3), (Floats{1, -2.5F, 300}));
  EXPECT_EQ(Read<float>(DataType::kFp32, "[[1, 2],\n[ 3,4 ] ]", 4), (Floats{1, 2, 3, 4}));
  EXPECT_EQ(Read<float>(DataType::kFp32, "[[[[1]]]]", 1), (Floats{1}));
  EXPECT_EQ(Read<float>(DataType::kFp32, "[]", 0), (Floats{}));
  EXPECT_EQ(Read<float>(DataType::kFp32, "[[],[]]", 0), (Floats{}));
  EXPECT_EQ(Read<int64_t>(DataType::kInt64, "[9223372036854775807,-9223372036854775808,0]", 3),
            (Longs{INT64_MAX, INT64_MIN, 0}));
}

TEST(JsonNumbers, LeavesWhatIsNoPlainNumberToTheSlowerReader) {
  for (const char* text : {"",
                           "1",
                           "[",
                           "[1",
                           "[1,",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "[[1]",
                           "[1]]",
                           "[1,2]",
                           "[01]",
                           "[-]",
                           "[+1]",
                           "[.5]",
                           "[1.]",
                           "[1.e3]",
                           "[1e]",
                           "[1e+]",
                           "[0x1]",
                           "[1f]",
                           "[NaN]",
                           "[Infinity]",
                           "[true]",
                           "[null]",
                           "[\"1\"]",
                           "[{}]",
                           "[1}",
                           "[[[[[1]]]]]",
                           "[1e999]",
                           "[--1]",
                           "[1e1.5]",
                           "[1-1]",
                           "[1e123456789]",
                           "[-1e123456789]"}) {
    EXPECT_EQ(Read<double>(DataType::kFp64, text, 1), std::nullopt) << text;
  }
  EXPECT_EQ(Read<float>(DataType::kFp32, "[1e39]", 1), std::nullopt) << "too large";
  EXPECT_EQ(Read<int8_t>(DataType::kInt8, "[128]", 1), std::nullopt);
  EXPECT_EQ(Read<int8_t>(DataType::kInt8, "[-129]", 1), std::nullopt);
  EXPECT_EQ(Read<uint8_t>(DataType::kUint8, "[-1]", 1), std::nullopt);
  EXPECT_EQ(Read<uint8_t>(DataType::kUint8, "[1.0]", 1), std::nullopt) << "not whole";
  EXPECT_EQ(Read<int64_t>(DataType::kInt64, "[9223372036854775808]", 1), std::nullopt);
  EXPECT_EQ(Read<uint8_t>(DataType::kBool, "[1]", 1), std::nullopt) << "no number";
}

// Texts as JSON writers make them, of every length around the eight and sixteen characters of a step.
TEST(JsonNumbers, RoundsAsTheStandardLibraryDoes) {
  std::mt19937_64 random(7);
  std::vector<std::string> texts = {"-0.0",
                                    "0.1",
                                    "9007199254740993",
                                    "123456789012345678",
                                    "1e22",
                                    "1e23",
                                    "1e-22",
                                    "8.5e-7",
                                    "0.000001234567890123456",
                                    "4.9e-324",
                                    "0.123456789012345654740993",
                                    "1e0000000000001",
                                    "0.1e-0000000012"};
  for (int i = 0; i < 20'000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) continue;
    std::array<char, 400> text;
    const auto precision = static_cast<int>(random() % 20);
    const double shown = std::fmod(value, 1e7);
    auto end = i % 2 == 0
                   ? std::to_chars(text.begin(), text.end(), value).ptr
                   : std::to_chars(text.begin(), text.end(), shown, std::chars_format::fixed, precision).ptr;
    texts.emplace_back(text.begin(), end);
  }
  for (const std::string& text : texts) {
    double expected = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), expected).ec != std::errc()) continue;
    const auto read = Read<double>(DataType::kFp64, "[" + text + "]", 1);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(std::bit_cast<uint64_t>(read->front()), std::bit_cast<uint64_t>(expected)) << text;
  }
}

TEST(JsonNumbers, TakesWhatIsTooSmallForZero) {
  const std::string long_one = "0." + std::string(400, '0') + "1";
  EXPECT_EQ(Read<double>(DataType::kFp64, "[1e-400,0.0000001e-999999999,0e999999999," + long_one + "]", 4),
            (Doubles{0, 0, 0, 0}));
  EXPECT_TRUE(std::signbit(Read<double>(DataType::kFp64, "[-1e-400]", 1)->front()));
  EXPECT_EQ(Read<double>(DataType::kFp64, "[" + std::string(400, '9') + ".5]", 1), std::nullopt);
}

}  // namespace
}  // namespace falaj::wire::test

#include "wire/json_numbers.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/half.h"

namespace falaj::wire {
namespace {

static_assert(std::endian::native == std::endian::little, "eight characters are taken as one number");

// Powers of ten that a double holds exactly.
constexpr std::array<double, 23> kExactPowers = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                 1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr int kMostExactPower = 22;
constexpr uint64_t kMostExactMantissa = uint64_t{1} << 53;
// Powers of ten that 64 bits hold, as many as ReadDigits reads at a time.
constexpr std::array<uint64_t, 17> kPowers = {1,
                                              10,
                                              100,
                                              1'000,
                                              10'000,
                                              100'000,
                                              1'000'000,
                                              10'000'000,
                                              100'000'000,
                                              1'000'000'000,
                                              10'000'000'000,
                                              100'000'000'000,
                                              1'000'000'000'000,
                                              10'000'000'000'000,
                                              100'000'000'000'000,
                                              1'000'000'000'000'000,
                                              10'000'000'000'000'000};
constexpr int kMostDigits = 19;  // of which any number is less than 2^64

__extension__ using Sixteen = unsigned __int128;

bool IsDigit(char character) { return static_cast<unsigned char>(character - '0') <= 9; }

const char* BehindSpace(const char* at) {
  while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') ++at;
  return at;
}

// Of eight characters, of which the first is the lowest byte: less '0' each, so that digits are 0 to 9.
uint64_t EightAt(const char* at) {
  uint64_t characters = 0;
  std::memcpy(&characters, at, sizeof(characters));
  return characters ^ 0x3030303030303030;
}

// How many of the eight are digits, before the first that is none. A carry out of a byte reaches later ones
// only. What is no digit has one of the bits 0 to 3 of its byte set; bit 63 stands for the end. (Counting the
// zeros of 0 is a branch on processors of the baseline.)
int DigitsOf(uint64_t eight) {
  const uint64_t others = (((eight + 0x0606060606060606) | eight) & 0xF0F0F0F0F0F0F0F0) >> 4;
  return (std::countr_zero(others | uint64_t{1} << 63) + 4) / 8;
}

// Eight digits as a number: neighbours are put together to pairs, then the four pairs by their weights.
uint64_t ValueOf(uint64_t eight) {
  const uint64_t pairs = eight * 10 + (eight >> 8);
  constexpr uint64_t kPair = 0x000000FF000000FF;
  constexpr uint64_t kFirstAndThird = 100 + (uint64_t{1'000'000} << 32);
  constexpr uint64_t kSecondAndFourth = 1 + (uint64_t{10'000} << 32);
  return ((pairs & kPair) * kFirstAndThird + ((pairs >> 16) & kPair) * kSecondAndFourth) >> 32;
}

// The functions below return what is behind what they read; nullptr: it is not what they read. Positions are
// handed on by value and the short ones are inlined, so that they stay in registers: each number's place is
// known only when the one before was read.

// Puts digits, if there are any, behind those of `value`, which more than kMostDigits make meaningless.
// Sixteen at a time without a branch: how many digits a number has is what a processor cannot foresee.
[[gnu::always_inline]] inline const char* ReadDigits(const char* at, uint64_t& value) {
  for (;;) {
    const uint64_t first = EightAt(at);
    const uint64_t second = EightAt(at + 8);
    const int before = DigitsOf(first);
    const int digits = before + (DigitsOf(second) & -(before / 8));
    if (digits == 0) return at;
    // Zeros come before them, at the lower bytes.
    const Sixteen aligned = ((Sixteen{second} << 64) | first) << (128 - 8 * digits);
    const uint64_t low = ValueOf(static_cast<uint64_t>(aligned));
    const uint64_t high = ValueOf(static_cast<uint64_t>(aligned >> 64));
    value = value * kPowers[static_cast<size_t>(digits)] + low * 100'000'000 + high;
    at += digits;
    if (digits < 16) return at;
  }
}

// The digits before the point: one, or several of which the first is not 0.
[[gnu::always_inline]] inline const char* ReadWhole(const char* at, uint64_t& value) {
  if (!IsDigit(*at)) return nullptr;
  if (!IsDigit(at[1])) {
    value = static_cast<uint64_t>(*at - '0');
    return at + 1;
  }
  return *at == '0' ? nullptr : ReadDigits(at, value);
}

// What is behind the "e".
const char* ReadExponent(const char* at, int64_t& exponent) {
  const bool negative = *at == '-';
  if (negative || *at == '+') ++at;
  uint64_t value = 0;
  const char* const end = ReadDigits(at, value);
  if (end == at) return nullptr;
  constexpr int64_t kBeyondAny = 100'000'000;
  const int64_t size = end - at > 8 ? kBeyondAny : static_cast<int64_t>(value);
  exponent = negative ? -size : size;
  return end;
}

// The power of ten of the first digit that is not 0, about. `shift` is what stands behind the "e".
int64_t MagnitudeOf(const char* whole, int64_t shift) {
  const char* at = whole;
  if (*at != '0') {
    while (IsDigit(*at)) ++at;
    return at - whole + shift;
  }
  const char* const behind_point = at + 2;
  for (at = behind_point; *at == '0';) ++at;
  return behind_point - at + shift;
}

// A number whose grammar was checked, of any size.
const char* ReadAnyDouble(const char* begin, const char* end, int64_t shift, double& number) {
  if (std::from_chars(begin, end, number).ec == std::errc()) return end;
  const bool negative = *begin == '-';
  if (MagnitudeOf(begin + (negative ? 1 : 0), shift) > 0) return nullptr;  // too large
  number = negative ? -0.0 : 0.0;  // too small; the library says of both that it is out of range
  return end;
}

// By one multiplication or division where both numbers are exact, and the result so correctly rounded
// (Clinger, "How to read floating point numbers accurately", 1990), otherwise by the standard library.
[[gnu::always_inline]] inline const char* ReadNumber(const char* const begin, double& number) {
  const bool negative = *begin == '-';
  const char* at = begin + (negative ? 1 : 0);
  uint64_t mantissa = 0;
  const char* const whole_begin = at;
  at = ReadWhole(at, mantissa);
  if (at == nullptr) return nullptr;
  int64_t digits = at - whole_begin;
  int64_t exponent = 0;
  if (*at == '.') {
    const char* const point = at++;
    at = ReadDigits(at, mantissa);
    exponent = point + 1 - at;
    if (exponent == 0) return nullptr;
    digits -= exponent;
  }
  int64_t shift = 0;
  if (*at == 'e' || *at == 'E') {
    at = ReadExponent(at + 1, shift);
    if (at == nullptr) return nullptr;
    exponent += shift;
  }
  if (digits > kMostDigits || mantissa > kMostExactMantissa || std::abs(exponent) > kMostExactPower) {
    return ReadAnyDouble(begin, at, shift, number);
  }
  const auto whole = static_cast<double>(static_cast<int64_t>(mantissa));
  const double power = kExactPowers[static_cast<size_t>(std::abs(exponent))];
  const double magnitude = exponent < 0 ? whole / power : whole * power;
  number = std::bit_cast<double>(std::bit_cast<uint64_t>(magnitude) | uint64_t{negative} << 63);
  return at;
}

[[gnu::always_inline]] inline const char* ReadNumber(const char* at, float& number) {
  double wide = 0;
  at = ReadNumber(at, wide);
  number = static_cast<float>(wide);
  return std::isinf(number) ? nullptr : at;
}

template <typename T>
[[gnu::always_inline]] inline const char* ReadNumber(const char* at,
                                                     T& number) requires std::is_integral_v<T> {
  const bool negative = *at == '-';
  if (negative && !std::is_signed_v<T>) return nullptr;
  at += negative ? 1 : 0;
  uint64_t value = 0;
  const char* const end = ReadWhole(at, value);
  if (end == nullptr || end - at > kMostDigits) return nullptr;
  if (value > static_cast<uint64_t>(std::numeric_limits<T>::max()) + (negative ? 1 : 0)) return nullptr;
  number = static_cast<T>(negative ? 0 - value : value);
  return end;
}

// The 16-bit floats, which are no types of their own.
template <auto Round, auto Widen>
struct Narrow {
  uint16_t bits;
};

template <auto Round, auto Widen>
[[gnu::always_inline]] inline const char* ReadNumber(const char* at, Narrow<Round, Widen>& number) {
  double wide = 0;
  at = ReadNumber(at, wide);
  number.bits = Round(wide);
  return std::isinf(Widen(number.bits)) ? nullptr : at;
}

template <typename T>
bool ReadArray(std::string_view text, const TensorView& view, int max_depth) {
  T* to = static_cast<T*>(view.data);
  T* const to_end = to + view.elements();
  const char* at = text.data();
  int depth = 0;
  do {  // each turn is for a value, or for an array's beginning
    at = BehindSpace(at);
    if (*at == '[') {
      if (++depth > max_depth) return false;
      at = BehindSpace(at + 1);
      if (*at != ']') continue;
    } else {
      if (depth == 0 || to == to_end) return false;
      at = ReadNumber(at, *to++);
      if (at == nullptr) return false;
      at = BehindSpace(at);
    }
    while (*at == ']' && depth > 0) {
      --depth;
      at = BehindSpace(at + 1);
    }
    if (depth > 0 && *at++ != ',') return false;
  } while (depth > 0);
  return to == to_end && at >= text.data() + text.size();
}

}  // namespace

const char* ReadJsonDouble(const char* text, double& number) { return ReadNumber(text, number); }

bool ReadJsonNumbers(std::string_view text, const TensorView& view, int max_depth) {
  switch (view.type) {
    case DataType::kUint8:
      return ReadArray<uint8_t>(text, view, max_depth);
    case DataType::kUint16:
      return ReadArray<uint16_t>(text, view, max_depth);
    case DataType::kUint32:
      return ReadArray<uint32_t>(text, view, max_depth);
    case DataType::kUint64:
      return ReadArray<uint64_t>(text, view, max_depth);
    case DataType::kInt8:
      return ReadArray<int8_t>(text, view, max_depth);
    case DataType::kInt16:
      return ReadArray<int16_t>(text, view, max_depth);
    case DataType::kInt32:
      return ReadArray<int32_t>(text, view, max_depth);
    case DataType::kInt64:
      return ReadArray<int64_t>(text, view, max_depth);
    case DataType::kFp16:
      return ReadArray<Narrow<HalfOf, FloatOfHalf>>(text, view, max_depth);
    case DataType::kBf16:
      return ReadArray<Narrow<BrainOf, FloatOfBrain>>(text, view, max_depth);
    case DataType::kFp32:
      return ReadArray<float>(text, view, max_depth);
    case DataType::kFp64:
      return ReadArray<double>(text, view, max_depth);
    case DataType::kBool:
    case DataType::kBytes:
      return false;
  }
  return false;
}

}  // namespace falaj::wire

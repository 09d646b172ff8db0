#include "core/half.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace falaj {

uint16_t HalfOf(double value) {
  if (std::isnan(value)) return 0x7E00u;
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000u : 0u);
  const double size = std::abs(value);
  if (size == 0) return sign;
  if (size >= 65520.0) return static_cast<uint16_t>(sign | 0x7C00u);
  int exponent = 0;
  std::frexp(size, &exponent);         // size is in [2^(exponent - 1), 2^exponent)
  exponent = std::max(exponent, -13);  // below the normal numbers steps get no finer
  const double steps = std::nearbyint(std::ldexp(size, 11 - exponent));  // at most 2^11
  // Normal numbers carry an implied 2^10; a round-up to 2^11 runs into the exponent, as it should.
  const auto bits = static_cast<int>(steps) + ((exponent + 13) << 10);
  return static_cast<uint16_t>(sign | static_cast<uint16_t>(bits));
}

float FloatOfHalf(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1F;
  const int fraction = bits & 0x3FF;
  float size = 0;
  if (exponent == 31) {
    size = fraction != 0 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  } else if (exponent == 0) {
    size = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    size = std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  }
  return (bits & 0x8000u) != 0 ? -size : size;
}

uint16_t BrainOf(double value) {
  if (std::isnan(value)) return 0x7FC0u;
  auto rounded = static_cast<float>(value);
  uint32_t sticky = 0;
  if (std::isfinite(rounded) && static_cast<double>(rounded) != value) {
    // Rounded to odd first, so that the second rounding cannot make a tie of what was none.
    if (std::abs(static_cast<double>(rounded)) > std::abs(value)) rounded = std::nextafter(rounded, 0.0f);
    sticky = 1;
  }
  const uint32_t bits = std::bit_cast<uint32_t>(rounded) | sticky;
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

float FloatOfBrain(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

}  // namespace falaj

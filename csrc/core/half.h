// The two 16-bit floating-point types, which C++20 has no arithmetic for. Bits in a uint16_t.
#pragma once

#include <cstdint>

namespace falaj {

// IEEE 754 binary16. To: rounded once, to nearest even; what is too large becomes infinity. From: exact.
[[nodiscard]] uint16_t HalfOf(double value);
[[nodiscard]] float FloatOfHalf(uint16_t bits);

// The upper half of a binary32. To: rounded to nearest even. From: exact.
[[nodiscard]] uint16_t BrainOf(double value);
[[nodiscard]] float FloatOfBrain(uint16_t bits);

}  // namespace falaj

#include "core/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace falaj {
namespace {

struct Format {
  const char* name;
  uint16_t (*narrow)(double);
  float (*widen)(uint16_t);
  uint16_t infinity;
};
const Format kFormats[] = {{"FP16", HalfOf, FloatOfHalf, 0x7C00}, {"BF16", BrainOf, FloatOfBrain, 0x7F80}};

TEST(Half, EveryValueKeepsItsBits) {
  for (const Format& format : kFormats) {
    for (uint32_t bits = 0; bits < 0x8000; ++bits) {
      const auto positive = static_cast<uint16_t>(bits);
      const auto negative = static_cast<uint16_t>(bits | 0x8000u);
      if (bits > format.infinity) {
        EXPECT_TRUE(std::isnan(format.widen(positive)));
        continue;
      }
      ASSERT_EQ(format.narrow(static_cast<double>(format.widen(positive))), positive) << format.name;
      ASSERT_EQ(format.narrow(static_cast<double>(format.widen(negative))), negative) << format.name;
    }
    EXPECT_TRUE(std::isnan(format.widen(format.narrow(std::nan("")))));
  }
}

// Between two neighbours the nearer one, and half-way the even one: also for doubles that no float holds.
TEST(Half, RoundsOnceToNearestEven) {
  for (const Format& format : kFormats) {
    for (uint16_t low = 0; low + 1 < format.infinity; ++low) {
      const auto high = static_cast<uint16_t>(low + 1);
      const double middle =
          (static_cast<double>(format.widen(low)) + static_cast<double>(format.widen(high))) / 2;
      ASSERT_EQ(format.narrow(middle), low % 2 == 0 ? low : high) << format.name << " " << low;
      ASSERT_EQ(format.narrow(std::nextafter(middle, 0.0)), low) << format.name << " " << low;
      ASSERT_EQ(format.narrow(std::nextafter(middle, HUGE_VAL)), high) << format.name << " " << low;
      ASSERT_EQ(format.narrow(-std::nextafter(middle, HUGE_VAL)), high | 0x8000) << format.name << " " << low;
    }
  }
}

TEST(Half, WhatIsTooLargeBecomesInfinite) {
  for (const Format& format : kFormats) {
    EXPECT_EQ(format.narrow(1e300), format.infinity);
    EXPECT_EQ(format.narrow(-HUGE_VAL), format.infinity | 0x8000);
  }
  EXPECT_EQ(HalfOf(65519.999), 0x7BFF);
  EXPECT_EQ(HalfOf(65520), 0x7C00);
}

}  // namespace
}  // namespace falaj

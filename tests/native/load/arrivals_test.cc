#include "load/arrivals.h"

#include <gtest/gtest.h>

#include <cmath>

namespace falaj::load {
namespace {

TEST(Arrivals, TellTheSameTimes_WhenTheyAreCopied) {
  Arrivals first(Pace::kPoisson, 1000, 7, 0);
  Arrivals second = first;
  for (int i = 0; i < 100; ++i, first.Advance()) EXPECT_GE(first.next(), 0);
  EXPECT_EQ(first.passed(), 100U);
  EXPECT_EQ(second.passed(), 0U);
  for (int i = 0; i < 100; ++i) second.Advance();
  EXPECT_EQ(first.next(), second.next());
}

TEST(Arrivals, ComeAtTheRate_WhenTheyAreDrawn) {
  Arrivals arrivals(Pace::kPoisson, 200, 3, 0);
  constexpr int kCount = 20'000;
  double last = 0, squares = 0;
  for (int i = 0; i < kCount; ++i, arrivals.Advance()) {
    EXPECT_GT(arrivals.next(), last);
    squares += std::pow(arrivals.next() - last, 2);
    last = arrivals.next();
  }
  EXPECT_NEAR(last, kCount / 200.0, 0.05 * last);
  EXPECT_NEAR(squares / kCount, 2.0 / (200.0 * 200.0),
              0.1 * 2.0 / (200.0 * 200.0));  // as of an exponential one
}

TEST(Arrivals, DoNotDrift_WhenTheyAreConstant) {
  Arrivals arrivals(Pace::kConstant, 3000, 1, 1);
  for (int i = 1; i <= 3'000'000; ++i, arrivals.Advance()) {
    if (i % 1'000'000 != 0) continue;
    EXPECT_DOUBLE_EQ(arrivals.next(), i / 3000.0);
  }
}

TEST(Arrivals, LieBetweenEachOther_WhenThreadsShareAConstantRate) {
  Arrivals first(Pace::kConstant, 50, 1, 0.5), second(Pace::kConstant, 50, 2, 1.0);
  for (int i = 0; i < 10; ++i, first.Advance(), second.Advance()) {
    EXPECT_NEAR(second.next() - first.next(), 0.01, 1e-12);
  }
}

}  // namespace
}  // namespace falaj::load

// When requests are to be sent, whatever the server does.
#pragma once

#include <cstdint>
#include <random>

namespace falaj::load {

enum class Pace {
  kClosed,    // when an answer comes: there are no arrivals
  kPoisson,   // gaps are drawn from an exponential distribution
  kConstant,  // gaps are equal
};

// The times of arrivals, one after the other, without end. Two of the same parameters tell the same times, so
// that what has arrived and what was sent are two of these, and nothing between them has to be kept. One
// thread's.
class Arrivals {
 public:
  // `rate` a second, above 0. `seed` is of Poisson arrivals; the first of constant ones comes after `first`
  // gaps.
  Arrivals(Pace pace, double rate, uint64_t seed, double first)
      : pace_(pace), gap_(rate), step_(1 / rate), random_(seed), first_(first * step_) {
    Advance();
  }

  // Seconds from the beginning to the next one.
  double next() const { return at_; }
  void Advance() {
    ++count_;
    at_ = pace_ == Pace::kPoisson ? at_ + gap_(random_) : first_ + static_cast<double>(count_ - 1) * step_;
  }
  // How many were advanced over.
  uint64_t passed() const { return count_ - 1; }

 private:
  Pace pace_;
  std::exponential_distribution<double> gap_;
  double step_;
  std::mt19937_64 random_;
  double first_;
  double at_ = 0;
  uint64_t count_ = 0;
};

}  // namespace falaj::load

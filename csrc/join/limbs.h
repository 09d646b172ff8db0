// Integers of many bits, and how they become doubles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace falaj::join {

// Limbs of 64 bits, least first. Allocates nothing. REQUIRES: never more than kMost
class Limbs {
 public:
  static constexpr size_t kMost = 152;

  Limbs() = default;
  Limbs(size_t size, uint64_t value) { resize(size, value); }

  size_t size() const { return size_; }
  uint64_t& operator[](size_t i) { return limbs_[i]; }
  uint64_t operator[](size_t i) const { return limbs_[i]; }
  void resize(size_t size, uint64_t value) {
    for (size_t i = size_; i < size; ++i) limbs_[i] = value;
    size_ = size;
  }
  // Times 2^(64 limbs).
  void Shift(size_t limbs) {
    std::memmove(limbs_ + limbs, limbs_, size_ * sizeof(uint64_t));
    std::memset(limbs_, 0, limbs * sizeof(uint64_t));
    size_ += limbs;
  }

 private:
  size_t size_ = 0;
  uint64_t limbs_[kMost];
};

int BitLength(const Limbs& of);
// The bits [bit, bit + 64) of `of`; those below 0 and beyond the end are 0.
uint64_t BitsAt(const Limbs& of, int bit);
bool AnyBelow(const Limbs& of, int bit);
// Divides in place; returns whether there was a remainder.
bool Divide(Limbs& of, uint64_t by);
Limbs Times(const Limbs& a, const Limbs& b);
// a - b, in `a`; false where that is below zero.
bool Subtract(Limbs& a, const Limbs& b);
// (of + something below one, if `more`) * 2^exponent, to nearest, ties to even.
// REQUIRES: of has more bits than a double keeps, or !more
double Round(const Limbs& of, int exponent, bool more);
// sqrt((of + something below one, if `more`) * 2^exponent), rounded likewise. REQUIRES: exponent is even, of
// has 128 bits or more
double RoundRoot(const Limbs& of, int exponent, bool more);

}  // namespace falaj::join

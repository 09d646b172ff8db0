#include "join/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace falaj::join {
namespace {

__extension__ using Wide = unsigned __int128;
using Limbs = std::vector<uint64_t>;  // least first

constexpr int kUnitLimbs = 34;
constexpr int kUnitBits = 64 * kUnitLimbs;  // squares of the smallest double are 2^-2148
// Squares of the largest double are below 2^2048; 2^64 of them below 2^2112.
constexpr int kMostLimbs = kUnitLimbs + 34;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Parts {
  uint64_t mantissa;
  int exponent;
  bool negative;
};

// value == +-mantissa * 2^exponent. REQUIRES: value is finite
Parts Split(double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  const uint64_t fraction = bits & ((uint64_t{1} << 52) - 1);
  const int biased = static_cast<int>((bits >> 52) & 0x7ff);
  if (biased == 0) return {fraction, -1074, (bits >> 63) != 0};
  return {fraction | (uint64_t{1} << 52), biased - 1075, (bits >> 63) != 0};
}

uint64_t AbsOf(int64_t value) {
  return value < 0 ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
}

int BitLength(const Limbs& of) {
  for (size_t i = of.size(); i-- > 0;) {
    if (of[i] != 0) return static_cast<int>(64 * i) + 64 - std::countl_zero(of[i]);
  }
  return 0;
}

// The bits [bit, bit + 64) of `of`; those below 0 and beyond the end are 0.
uint64_t BitsAt(const Limbs& of, int bit) {
  const auto limb = [&](int i) {
    return i >= 0 && i < static_cast<int>(of.size()) ? of[static_cast<size_t>(i)] : uint64_t{0};
  };
  const int i = bit >> 6, shift = bit & 63;
  return shift == 0 ? limb(i) : (limb(i) >> shift) | (limb(i + 1) << (64 - shift));
}

bool AnyBelow(const Limbs& of, int bit) {
  for (size_t i = 0; i < of.size() && static_cast<int>(64 * i) < bit; ++i) {
    const int left = bit - static_cast<int>(64 * i);
    const uint64_t mask = left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
    if ((of[i] & mask) != 0) return true;
  }
  return false;
}

// (of + something below one, if `more`) * 2^exponent, to nearest, ties to even.
// REQUIRES: of has more bits than a double keeps, or !more
double Round(const Limbs& of, int exponent, bool more) {
  const int bits = BitLength(of);
  if (bits == 0) return 0.0;
  // What is dropped below: 53 bits stay, fewer for subnormal numbers.
  const int drop = std::max(bits - 53, -1074 - exponent);
  if (drop <= 0) return std::ldexp(static_cast<double>(BitsAt(of, 0)), exponent);
  uint64_t kept = BitsAt(of, drop);
  const bool half = (BitsAt(of, drop - 1) & 1) != 0;
  if (half && (more || AnyBelow(of, drop - 1) || (kept & 1) != 0)) ++kept;
  return std::ldexp(static_cast<double>(kept), drop + exponent);
}

// Divides in place; returns whether there was a remainder.
bool Divide(Limbs& of, uint64_t by) {
  uint64_t rest = 0;
  for (size_t i = of.size(); i-- > 0;) {
    const Wide part = (static_cast<Wide>(rest) << 64) | of[i];
    of[i] = static_cast<uint64_t>(part / by);
    rest = static_cast<uint64_t>(part % by);
  }
  return rest != 0;
}

Limbs Times(const Limbs& a, const Limbs& b) {
  Limbs product(a.size() + b.size(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const Wide part = static_cast<Wide>(a[i]) * b[j] + product[i + j] + carry;
      product[i + j] = static_cast<uint64_t>(part);
      carry = static_cast<uint64_t>(part >> 64);
    }
    product[i + b.size()] = carry;
  }
  return product;
}

// a - b; false where that is below zero.
bool Subtract(Limbs& a, const Limbs& b) {
  a.resize(std::max(a.size(), b.size()), 0);
  uint64_t borrow = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const Wide take = static_cast<Wide>(i < b.size() ? b[i] : 0) + borrow;
    borrow = a[i] < take ? 1 : 0;
    a[i] -= static_cast<uint64_t>(take);
  }
  return borrow == 0;
}

void ShiftLimbs(Limbs& of, size_t limbs) { of.insert(of.begin(), limbs, 0); }

// The root's integer part; bit by bit.
uint64_t Root(Wide of) {
  uint64_t root = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const uint64_t tried = root | (uint64_t{1} << bit);
    if (static_cast<Wide>(tried) * tried <= of) root = tried;
  }
  return root;
}

// sqrt((of + something below one, if `more`) * 2^exponent). REQUIRES: exponent is even, of has 128 bits or
// more
double RoundRoot(const Limbs& of, int exponent, bool more) {
  int drop = BitLength(of) - 127;
  drop += drop & 1;  // an even exponent stays
  const Wide top = (static_cast<Wide>(BitsAt(of, drop + 64)) << 64) | BitsAt(of, drop);
  const uint64_t root = Root(top);
  const bool inexact = more || AnyBelow(of, drop) || static_cast<Wide>(root) * root != top;
  return Round({root}, (exponent + drop) / 2, inexact);
}

}  // namespace

void ExactSum::Add(double value) {
  if (AddSpecial(value, false)) return;
  const Parts parts = Split(value);
  AddBits(parts.mantissa, parts.exponent + kUnitBits, parts.negative);
}

void ExactSum::Add(int64_t value) { AddBits(AbsOf(value), kUnitBits, value < 0); }

void ExactSum::AddSquare(double value) {
  if (AddSpecial(value, true)) return;
  const Parts parts = Split(value);
  AddBits(static_cast<Wide>(parts.mantissa) * parts.mantissa, 2 * parts.exponent + kUnitBits, false);
}

void ExactSum::AddSquare(int64_t value) {
  AddBits(static_cast<Wide>(AbsOf(value)) * AbsOf(value), kUnitBits, false);
}

bool ExactSum::AddSpecial(double value, bool square) {
  if (std::isfinite(value)) return false;
  if (std::isnan(value)) {
    ++nans_;
  } else if (value > 0 || square) {
    ++infinities_;
  } else {
    ++minus_infinities_;
  }
  return true;
}

// Makes room for limbs [low, high), and above them one that is all sign, which takes every carry.
void ExactSum::Cover(int low, int high) {
  if (limbs_.empty()) low_ = low;
  if (low < low_) {
    ShiftLimbs(limbs_, static_cast<size_t>(low_ - low));
    low_ = low;
  }
  const uint64_t sign = negative() ? ~uint64_t{0} : 0;
  const auto size = static_cast<size_t>(high - low_ + 1);
  if (limbs_.size() < size) limbs_.resize(size, sign);
  if (limbs_.back() != sign) limbs_.push_back(sign);
}

void ExactSum::AddBits(Wide magnitude, int bit, bool negative) {
  if (magnitude == 0) return;
  const int limb = bit / 64, shift = bit % 64;
  const auto low = static_cast<uint64_t>(magnitude), high = static_cast<uint64_t>(magnitude >> 64);
  const uint64_t parts[3] = {low << shift, shift == 0 ? high : (high << shift) | (low >> (64 - shift)),
                             shift == 0 ? 0 : high >> (64 - shift)};
  Cover(limb, limb + 3);
  uint64_t carry = 0;
  auto at = static_cast<size_t>(limb - low_);
  for (size_t i = 0; at < limbs_.size() && (i < 3 || carry != 0); ++i, ++at) {
    const Wide change = static_cast<Wide>(i < 3 ? parts[i] : 0) + carry;
    if (negative) {
      carry = limbs_[at] < change ? 1 : 0;
      limbs_[at] -= static_cast<uint64_t>(change);
    } else {
      const Wide sum = limbs_[at] + change;
      limbs_[at] = static_cast<uint64_t>(sum);
      carry = static_cast<uint64_t>(sum >> 64);
    }
  }
}

void ExactSum::Merge(const ExactSum& other) {
  nans_ += other.nans_;
  infinities_ += other.infinities_;
  minus_infinities_ += other.minus_infinities_;
  if (other.limbs_.empty()) return;
  const uint64_t sign = other.negative() ? ~uint64_t{0} : 0;
  const size_t size = other.limbs_.size();  // `other` may be this
  const int low = other.low_;
  Cover(low, low + static_cast<int>(size));
  const auto from = static_cast<size_t>(low - low_);
  uint64_t carry = 0;
  for (size_t i = 0; from + i < limbs_.size(); ++i) {
    const Wide sum = static_cast<Wide>(limbs_[from + i]) + (i < size ? other.limbs_[i] : sign) + carry;
    limbs_[from + i] = static_cast<uint64_t>(sum);
    carry = static_cast<uint64_t>(sum >> 64);
  }
}

void ExactSum::Trim() {
  while (limbs_.size() > 1 && limbs_.back() == ((limbs_[limbs_.size() - 2] >> 63) != 0 ? ~uint64_t{0} : 0))
    limbs_.pop_back();
  const auto first = std::find_if(limbs_.begin(), limbs_.end(), [](uint64_t limb) { return limb != 0; });
  low_ = first == limbs_.end() ? 0 : low_ + static_cast<int>(first - limbs_.begin());
  limbs_.erase(limbs_.begin(), first);
}

std::optional<double> ExactSum::Special() const {
  if (nans_ != 0 || (infinities_ != 0 && minus_infinities_ != 0)) return kNan;
  if (infinities_ != 0) return std::numeric_limits<double>::infinity();
  if (minus_infinities_ != 0) return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

std::vector<uint64_t> ExactSum::Magnitude() const {
  Limbs all = limbs_;
  if (negative()) {
    uint64_t carry = 1;
    for (uint64_t& limb : all) {
      limb = ~limb + carry;
      carry = carry != 0 && limb == 0 ? 1 : 0;
    }
  }
  ShiftLimbs(all, static_cast<size_t>(low_));
  return all;
}

double ExactSum::Mean(uint64_t count) const {
  if (const auto special = Special()) return *special;
  Limbs all = Magnitude();
  if (count == 1) return (negative() ? -1.0 : 1.0) * Round(all, -kUnitBits, false) + 0.0;
  ShiftLimbs(all, 2);  // the quotient of one unit still has 65 bits
  const bool more = Divide(all, count);
  return (negative() ? -1.0 : 1.0) * Round(all, -kUnitBits - 128, more) + 0.0;
}

std::optional<int64_t> ExactSum::Integer() const {
  if (Special()) return std::nullopt;
  const Limbs all = Magnitude();
  if (AnyBelow(all, kUnitBits) || BitLength(all) > kUnitBits + 64) return std::nullopt;
  const uint64_t bits = BitsAt(all, kUnitBits);
  const uint64_t most = static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) + (negative() ? 1 : 0);
  if (bits > most) return std::nullopt;
  return static_cast<int64_t>(negative() ? -bits : bits);
}

void ExactSum::Write(ByteWriter& to) const {
  ExactSum trimmed = *this;
  trimmed.Trim();
  to.U64(nans_);
  to.U64(infinities_);
  to.U64(minus_infinities_);
  to.U8(static_cast<uint8_t>(trimmed.low_));
  to.U8(static_cast<uint8_t>(trimmed.limbs_.size()));
  for (const uint64_t limb : trimmed.limbs_) to.U64(limb);
}

Result<ExactSum> ExactSum::Read(ByteReader& from) {
  ExactSum sum;
  sum.nans_ = from.U64();
  sum.infinities_ = from.U64();
  sum.minus_infinities_ = from.U64();
  sum.low_ = from.U8();
  const size_t size = from.U8();
  if (!from.ok() || sum.low_ + static_cast<int>(size) > kMostLimbs || size * 8 > from.left())
    return InvalidInput("a sum: its bytes are cut off or out of range");
  for (size_t i = 0; i < size; ++i) sum.limbs_.push_back(from.U64());
  const Limbs before = sum.limbs_;
  const int low = sum.low_;
  sum.Trim();
  if (sum.limbs_ != before || sum.low_ != low)
    return InvalidInput("a sum: its bytes are not in their shortest form");
  return sum;
}

double SampleStd(uint64_t count, const ExactSum& sum, const ExactSum& squares) {
  if (sum.Special() || squares.Special()) return kNan;
  Limbs spread = Times(squares.Magnitude(), {count});
  ShiftLimbs(spread, kUnitLimbs);  // in the unit of the squared sum
  const Limbs mean = sum.Magnitude();
  if (squares.negative() || !Subtract(spread, Times(mean, mean))) return kNan;
  if (BitLength(spread) == 0) return 0.0;
  ShiftLimbs(spread, 4);  // one unit divided by two numbers of 64 bits still has 128
  const bool first = Divide(spread, count), second = Divide(spread, count - 1);
  return RoundRoot(spread, -2 * kUnitBits - 256, first || second);
}

}  // namespace falaj::join

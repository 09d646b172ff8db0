#include "join/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "join/limbs.h"

namespace falaj::join {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr int kUnitLimbs = 34;
constexpr int kUnitBits = 64 * kUnitLimbs;  // squares of the smallest double are 2^-2148
// Squares of the largest double are below 2^2048; 2^64 of them below 2^2112.
constexpr int kMostLimbs = kUnitLimbs + 34;
// Of a sum one more, and one that is all sign; carries beyond would take 2^63 terms. Two are multiplied, and
// 4 limbs of a finer unit added.
static_assert(2 * (kMostLimbs + 3) + 4 <= static_cast<int>(Limbs::kMost));
enum SpecialBit : uint8_t { kHasNan = 1, kHasInfinity = 2, kHasMinusInfinity = 4, kSpecials = 7 };
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
    specials_ |= kHasNan;
  } else {
    specials_ |= (value > 0 || square) ? kHasInfinity : kHasMinusInfinity;
  }
  return true;
}

// Makes room for limbs [low, high), and above them one that is all sign, which takes every carry.
void ExactSum::Cover(int low, int high) {
  if (limbs_.empty()) low_ = low;
  if (low < low_) {
    limbs_.insert(limbs_.begin(), static_cast<size_t>(low_ - low), 0);
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

template <typename Limb>
void ExactSum::AddLimbs(int low, size_t size, Limb limb) {
  if (size == 0) return;
  const uint64_t sign = (limb(size - 1) >> 63) != 0 ? ~uint64_t{0} : 0;
  Cover(low, low + static_cast<int>(size));
  const auto from = static_cast<size_t>(low - low_);
  uint64_t carry = 0;
  for (size_t i = 0; from + i < limbs_.size(); ++i) {
    const Wide sum = static_cast<Wide>(limbs_[from + i]) + (i < size ? limb(i) : sign) + carry;
    limbs_[from + i] = static_cast<uint64_t>(sum);
    carry = static_cast<uint64_t>(sum >> 64);
  }
}

void ExactSum::Merge(const ExactSum& other) {
  specials_ |= other.specials_;
  const auto& limbs = other.limbs_;  // `other` may be this, and then they move by nothing
  AddLimbs(other.low_, limbs.size(), [&limbs](size_t i) { return limbs[i]; });
}

bool ExactSum::MergeFrom(ByteReader& from) {
  specials_ = static_cast<uint8_t>(specials_ | (from.U8() & kSpecials));
  const int low = from.U8();
  const size_t size = from.U8();
  const std::string_view limbs = from.Take(size * sizeof(uint64_t));
  if (!from.ok() || low + static_cast<int>(size) > kMostLimbs) return false;
  AddLimbs(low, size, [limbs](size_t i) {
    uint64_t limb;
    std::memcpy(&limb, limbs.data() + i * sizeof(limb), sizeof(limb));
    return limb;
  });
  return true;
}

void ExactSum::Skip(ByteReader& from) {
  from.Take(2);
  from.Take(from.U8() * sizeof(uint64_t));
}

void ExactSum::Clear() {
  low_ = 0;
  limbs_.clear();
  specials_ = 0;
}

void ExactSum::Trim() {
  while (limbs_.size() > 1 && limbs_.back() == ((limbs_[limbs_.size() - 2] >> 63) != 0 ? ~uint64_t{0} : 0))
    limbs_.pop_back();
  const auto first = std::find_if(limbs_.begin(), limbs_.end(), [](uint64_t limb) { return limb != 0; });
  low_ = first == limbs_.end() ? 0 : low_ + static_cast<int>(first - limbs_.begin());
  limbs_.erase(limbs_.begin(), first);
}

std::optional<double> ExactSum::Special() const {
  if (specials_ == 0) return std::nullopt;
  if (specials_ == kHasInfinity) return std::numeric_limits<double>::infinity();
  if (specials_ == kHasMinusInfinity) return -std::numeric_limits<double>::infinity();
  return kNan;
}

Limbs ExactSum::Magnitude() const {
  Limbs all(limbs_.size(), 0);
  uint64_t carry = negative() ? 1 : 0;
  const uint64_t flip = negative() ? ~uint64_t{0} : 0;
  for (size_t i = 0; i < limbs_.size(); ++i) {
    all[i] = (limbs_[i] ^ flip) + carry;
    carry = carry != 0 && all[i] == 0 ? 1 : 0;
  }
  all.Shift(static_cast<size_t>(low_));
  return all;
}

double ExactSum::Mean(uint64_t count) const {
  if (const auto special = Special()) return *special;
  Limbs all = Magnitude();
  if (count == 1) return (negative() ? -1.0 : 1.0) * Round(all, -kUnitBits, false) + 0.0;
  all.Shift(2);  // the quotient of one unit still has 65 bits
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
  to.U8(specials_);
  to.U8(static_cast<uint8_t>(trimmed.low_));
  to.U8(static_cast<uint8_t>(trimmed.limbs_.size()));
  for (const uint64_t limb : trimmed.limbs_) to.U64(limb);
}

Result<ExactSum> ExactSum::Read(ByteReader& from) {
  ExactSum sum;
  sum.specials_ = from.U8();
  sum.low_ = from.U8();
  const size_t size = from.U8();
  if (!from.ok() || sum.specials_ > kSpecials || sum.low_ + static_cast<int>(size) > kMostLimbs ||
      size * 8 > from.left())
    return InvalidInput("a sum: its bytes are cut off or out of range");
  for (size_t i = 0; i < size; ++i) sum.limbs_.push_back(from.U64());
  const std::vector<uint64_t> before = sum.limbs_;
  const int low = sum.low_;
  sum.Trim();
  if (sum.limbs_ != before || sum.low_ != low)
    return InvalidInput("a sum: its bytes are not in their shortest form");
  return sum;
}

double SampleStd(uint64_t count, const ExactSum& sum, const ExactSum& squares) {
  if (sum.Special() || squares.Special()) return kNan;
  Limbs spread = Times(squares.Magnitude(), Limbs(1, count));
  spread.Shift(kUnitLimbs);  // in the unit of the squared sum
  const Limbs mean = sum.Magnitude();
  if (squares.negative() || !Subtract(spread, Times(mean, mean))) return kNan;
  if (BitLength(spread) == 0) return 0.0;
  spread.Shift(4);  // one unit divided by two numbers of 64 bits still has 128
  const bool first = Divide(spread, count), second = Divide(spread, count - 1);
  return RoundRoot(spread, -2 * kUnitBits - 256, first || second);
}

}  // namespace falaj::join

#include "join/limbs.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace falaj::join {
namespace {

__extension__ using Wide = unsigned __int128;

// The root's integer part; bit by bit.
uint64_t Root(Wide of) {
  uint64_t root = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const uint64_t tried = root | (uint64_t{1} << bit);
    if (static_cast<Wide>(tried) * tried <= of) root = tried;
  }
  return root;
}

}  // namespace

int BitLength(const Limbs& of) {
  for (size_t i = of.size(); i-- > 0;) {
    if (of[i] != 0) return static_cast<int>(64 * i) + 64 - std::countl_zero(of[i]);
  }
  return 0;
}

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

double RoundRoot(const Limbs& of, int exponent, bool more) {
  int drop = BitLength(of) - 127;
  drop += drop & 1;  // an even exponent stays
  const Wide top = (static_cast<Wide>(BitsAt(of, drop + 64)) << 64) | BitsAt(of, drop);
  const uint64_t root = Root(top);
  const bool inexact = more || AnyBelow(of, drop) || static_cast<Wide>(root) * root != top;
  return Round(Limbs(1, root), (exponent + drop) / 2, inexact);
}

}  // namespace falaj::join

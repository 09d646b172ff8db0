// Sums that no order, chunking or merging of the terms can change, to the bit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/status.h"
#include "join/bytes.h"

namespace falaj::join {

class Limbs;

// The exact sum of doubles, integers and their squares: an integer of as many bits as it needs, in units of
// 2^-2176, so that nothing is rounded, underflows or overflows before it is read. NaN and infinities are
// remembered beside it. Two sums of the same terms have the same bytes. Reading a value allocates nothing.
// Not thread-safe.
class ExactSum {
 public:
  void Add(double value);
  void Add(int64_t value);
  void AddSquare(double value);
  void AddSquare(int64_t value);
  void Merge(const ExactSum& other);
  // Adds what Write wrote. False where the bytes are cut off or out of range.
  [[nodiscard]] bool MergeFrom(ByteReader& from);
  // Passes over what Write wrote.
  static void Skip(ByteReader& from);
  // As it was made; keeps its memory.
  void Clear();

  // Rounded once, to nearest, ties to even. NaN where a NaN or both infinities were added; else an infinity
  // where one was; else 0.0 where it is zero, whatever the signs of zeros, and infinity beyond the largest
  // double.
  double Sum() const { return Mean(1); }
  // The sum divided by `count`, rounded once likewise. REQUIRES: count > 0
  double Mean(uint64_t count) const;
  // The sum where it is an integer of 64 bits.
  std::optional<int64_t> Integer() const;

  void Write(ByteWriter& to) const;
  static Result<ExactSum> Read(ByteReader& from);

  friend double SampleStd(uint64_t count, const ExactSum& sum, const ExactSum& squares);

 private:
  __extension__ using Wide = unsigned __int128;
  void AddBits(Wide magnitude, int bit, bool negative);
  bool AddSpecial(double value, bool square);
  void Cover(int low, int high);
  void Trim();
  // Adds `size` limbs, limb(i) of weight 2^(64 (low + i)), the last of which has the sign.
  template <typename Limb>
  void AddLimbs(int low, size_t size, Limb limb);
  std::optional<double> Special() const;
  bool negative() const { return !limbs_.empty() && (limbs_.back() >> 63) != 0; }
  // Without sign, in units of 2^-2176.
  Limbs Magnitude() const;

  // Two's complement, limbs_[i] of weight 2^(64 (low_ + i)).
  int low_ = 0;
  std::vector<uint64_t> limbs_;
  uint8_t specials_ = 0;  // bits: whether a NaN, an infinity, a negative one was added
};

// The sample standard deviation, sqrt((n Q - S^2) / (n (n - 1))) of exact integers, rounded once. NaN where a
// NaN or an infinity was added. REQUIRES: count >= 2, the sum and the squares of the same `count` terms (of
// others, as corrupt bytes have them, the result is some number or NaN)
double SampleStd(uint64_t count, const ExactSum& sum, const ExactSum& squares);

}  // namespace falaj::join

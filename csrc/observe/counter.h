// Counters that cost a plain add where things happen and are merged when somebody looks.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace falaj {

// One writer at a time (its owner), any number of readers. A reader sees some recent value, and whoever reads
// two counters sees of the second at least what had been added when the first became what was read: of a part
// and its whole, write the whole first and read it last.
class Counter {
 public:
  void Add(uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_release);
  }
  void Set(uint64_t value) { value_.store(value, std::memory_order_release); }
  uint64_t Get() const { return value_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Counts by size, four classes per power of two, so a quantile read from it is at most 25 % too high.
// One writer at a time, as Counter.
class Histogram {
 public:
  static constexpr size_t kBins = 160;  // up to 2^40: 18 minutes in nanoseconds

  void Add(uint64_t value, uint64_t times = 1) {
    bins_[Bin(value)].Add(times);
    sum_.Add(value * times);
  }
  uint64_t Get(size_t bin) const { return bins_[bin].Get(); }
  uint64_t Sum() const { return sum_.Get(); }  // of the values themselves, exact

  static size_t Bin(uint64_t value) {
    if (value < 4) return static_cast<size_t>(value);
    const auto exponent = static_cast<uint64_t>(std::bit_width(value)) - 1;
    const uint64_t quarter = (value >> (exponent - 2)) & 3;
    const uint64_t bin = 4 * (exponent - 1) + quarter;
    return static_cast<size_t>(bin < kBins ? bin : kBins - 1);
  }
  // The smallest value of the next bin: all values of `bin` are below it.
  static uint64_t UpperBound(size_t bin) {
    if (bin < 4) return bin + 1;
    const uint64_t exponent = bin / 4 + 1;
    const uint64_t quarter = bin % 4;
    return (4 + quarter + 1) << (exponent - 2);
  }

 private:
  std::array<Counter, kBins> bins_;
  Counter sum_;
};

}  // namespace falaj

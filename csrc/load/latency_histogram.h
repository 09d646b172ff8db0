// Latencies by size: 256 classes in each power of two, so that a quantile is off by at most 0.2 %. Its memory
// is the same, 66 KiB, however many latencies there are.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace falaj::load {

// One thread's.
class LatencyHistogram {
 public:
  LatencyHistogram();
  // Negative ones count as 0, those of more than 18 minutes as as long.
  void Add(std::chrono::nanoseconds latency);
  void Merge(const LatencyHistogram& other);
  void Clear();
  uint64_t count() const { return count_; }
  // In microseconds: the least that a share `q` of the latencies does not exceed; 0 where there are none.
  double QuantileUs(double q) const;
  // Of the latencies themselves, in microseconds; 0 where there are none.
  double MeanUs() const;
  double MaxUs() const;

 private:
  std::vector<uint64_t> bins_;
  uint64_t count_ = 0;
  double sum_ = 0;     // nanoseconds; a double does not wrap
  uint64_t most_ = 0;  // nanoseconds
};

}  // namespace falaj::load

// Latencies by size: 256 classes in each power of two, so that a quantile is off by at most 0.2 %.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace falaj::bench {

// One thread's.
class LatencyHistogram {
 public:
  LatencyHistogram();
  void Add(std::chrono::nanoseconds latency);
  uint64_t count() const { return count_; }
  // In microseconds: what a share `q` of the latencies is at most; 0 where there are none.
  double QuantileUs(double q) const;
  double MaxUs() const;

 private:
  std::vector<uint64_t> bins_;
  uint64_t count_ = 0;
  uint64_t most_ = 0;  // nanoseconds
};

}  // namespace falaj::bench

#include "load/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace falaj::load {
namespace {

constexpr uint64_t kSteps = 256;  // in a power of two; values below it have a class of their own
constexpr int kStepBits = std::countr_zero(kSteps);
constexpr int kMostBits = 40;  // 18 minutes of nanoseconds
constexpr size_t kBins = kSteps * (kMostBits - kStepBits + 1);

size_t Bin(uint64_t value) {
  if (value < kSteps) return static_cast<size_t>(value);
  const auto shift = static_cast<uint64_t>(std::bit_width(value) - 1 - kStepBits);
  return std::min(kBins - 1, static_cast<size_t>(kSteps * shift + (value >> shift)));
}

// The middle of what the bin holds.
double Middle(size_t bin) {
  if (bin < 2 * kSteps) return static_cast<double>(bin);
  const uint64_t shift = bin / kSteps - 1;
  const uint64_t least = (bin - kSteps * shift) << shift;
  return static_cast<double>(least) + static_cast<double>(uint64_t{1} << shift) / 2;
}

}  // namespace

LatencyHistogram::LatencyHistogram() : bins_(kBins) {}

void LatencyHistogram::Add(std::chrono::nanoseconds latency) {
  const auto value = static_cast<uint64_t>(std::max<int64_t>(0, latency.count()));
  ++bins_[Bin(value)];
  ++count_;
  sum_ += static_cast<double>(value);
  most_ = std::max(most_, value);
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  if (other.count_ == 0) return;
  for (size_t bin = 0; bin < bins_.size(); ++bin) bins_[bin] += other.bins_[bin];
  count_ += other.count_;
  sum_ += other.sum_;
  most_ = std::max(most_, other.most_);
}

void LatencyHistogram::Clear() {
  if (count_ > 0) std::fill(bins_.begin(), bins_.end(), 0);
  count_ = most_ = 0;
  sum_ = 0;
}

double LatencyHistogram::QuantileUs(double q) const {
  if (count_ == 0) return 0;
  const auto wanted = static_cast<uint64_t>(std::ceil(q * static_cast<double>(count_)));
  uint64_t seen = 0;
  for (size_t bin = 0; bin < bins_.size(); ++bin) {
    seen += bins_[bin];
    if (seen >= std::max<uint64_t>(1, wanted)) return std::min(Middle(bin) / 1e3, MaxUs());
  }
  return MaxUs();
}

double LatencyHistogram::MeanUs() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_) / 1e3; }

double LatencyHistogram::MaxUs() const { return static_cast<double>(most_) / 1e3; }

}  // namespace falaj::load

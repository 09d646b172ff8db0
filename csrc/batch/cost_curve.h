// What a batch of n rows costs on this machine, learned from the batches that ran.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "core/mutex.h"

namespace falaj {

// Wall time of one run by rows: an exponentially weighted mean per power-of-two class of rows, interpolated
// linearly between classes. Not thread-safe: guarded by the batcher's mutex. A value, so that the decision
// functions that read it can be tested with any curve.
//
// A run that lost its core to another thread measures the scheduler, not the model, by a thousandfold. Such
// errors only ever lengthen a run, so what lengthens the estimate is trusted less than what shortens it:
// an observation counts at most kLonger times the estimate, and one far below it (kShorter) for half.
class CostCurve {
 public:
  // A run of `rows` >= 1 rows took `time`.
  void Add(int64_t rows, Nanos time);

  // Expected time of a run of `rows`, never more than that of a larger class; zero while nothing was learned.
  Nanos Estimate(int64_t rows) const;

  bool empty() const { return known_ == 0; }

 private:
  static constexpr int kClasses = 24;
  static constexpr double kWeight = 0.1;
  static constexpr double kLonger = 1.5;
  static constexpr double kShorter = 0.25;

  struct Class {
    double rows = 0;  // mean rows of the observations
    double ns = 0;    // mean time
    uint32_t seen = 0;
  };
  std::array<Class, kClasses> classes_{};
  int known_ = 0;
};

// Turns an expected time into one that holds for kShare of requests, by a factor learned from how earlier
// promises were kept: what the curve does not see (other models, a noisy machine, the front end) is in it.
// A quantile tracker by stochastic approximation: each broken promise raises the factor by kStep * kShare,
// each kept one lowers it by kStep * (1 - kShare), so that it rests where the share is met. Guarded as
// CostCurve.
class Promise {
 public:
  Nanos Of(Nanos expected) const {
    return Nanos(static_cast<int64_t>(static_cast<double>(expected.count()) * factor_));
  }
  void Learn(int64_t kept, int64_t broken);
  double factor() const { return factor_; }

 private:
  static constexpr double kShare = 0.97;
  static constexpr double kStep = 0.02;
  static constexpr double kMostPessimistic = 4.0;
  double factor_ = 1.1;
};

}  // namespace falaj

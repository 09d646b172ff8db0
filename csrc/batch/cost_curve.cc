#include "batch/cost_curve.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace falaj {

void CostCurve::Add(int64_t rows, Nanos time) {
  const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(rows, 1))));
  Class& cls = classes_[static_cast<size_t>(std::min(bits - 1, kClasses - 1))];
  const auto r = static_cast<double>(std::max<int64_t>(rows, 1));
  auto ns = static_cast<double>(time.count());
  if (cls.seen == 0) {
    cls = {r, ns, 1};
    ++known_;
    return;
  }
  double weight = std::max(kWeight, 1.0 / (cls.seen + 1.0));
  if (ns < kShorter * cls.ns) weight = std::max(weight, 0.5);
  ns = std::min(ns, kLonger * cls.ns);
  cls.rows += weight * (r - cls.rows);
  cls.ns += weight * (ns - cls.ns);
  ++cls.seen;
}

Nanos CostCurve::Estimate(int64_t rows) const {
  const auto r = static_cast<double>(std::max<int64_t>(rows, 1));
  const Class* below = nullptr;
  const Class* above = nullptr;
  for (const Class& cls : classes_) {
    if (cls.seen == 0) continue;
    if (cls.rows <= r) below = &cls;
    if (cls.rows >= r && above == nullptr) above = &cls;
  }
  double ns = 0;
  if (below == nullptr && above == nullptr) {
    ns = 0;
  } else if (below == nullptr) {
    ns = above->ns;  // fewer rows than ever seen: no more than the smallest class
  } else if (above == nullptr) {
    ns = below->ns * r / below->rows;  // more rows than ever seen: in proportion
  } else if (above == below || above->rows - below->rows < 1e-9) {
    ns = below->ns;
  } else {
    ns = below->ns + (above->ns - below->ns) * (r - below->rows) / (above->rows - below->rows);
  }
  // Fewer rows cost no more than many, whatever a class that was last seen in a bad moment says.
  for (const Class& cls : classes_) {
    if (cls.seen > 0 && cls.rows >= r) ns = std::min(ns, cls.ns);
  }
  return Nanos(static_cast<int64_t>(ns));
}

void Promise::Learn(int64_t kept, int64_t broken) {
  const double step =
      kStep * (kShare * static_cast<double>(broken) - (1 - kShare) * static_cast<double>(kept));
  factor_ = std::clamp(factor_ * std::exp(step), 1.0, kMostPessimistic);
}

}  // namespace falaj

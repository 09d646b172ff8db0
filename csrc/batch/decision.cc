#include "batch/decision.h"

#include <algorithm>

namespace falaj {
namespace {

// Splitting pays in latency; it may cost this much more compute in sum. Above it, fewer and larger batches
// serve more requests per second.
constexpr double kSplitOverhead = 1.15;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int SplitInto(int64_t rows, const BatchLimits& limits, const CostCurve& curve) {
  const int64_t needed = CeilDiv(std::max<int64_t>(rows, 1), limits.max_rows);
  if (needed >= limits.idle_instances || curve.empty()) {
    return static_cast<int>(std::min<int64_t>(needed, limits.idle_instances));
  }
  const Nanos whole = curve.Estimate(CeilDiv(rows, needed));
  const double together = static_cast<double>(needed) * static_cast<double>(whole.count());
  for (int64_t parts = std::min<int64_t>(limits.idle_instances, rows); parts > needed; --parts) {
    const Nanos part = curve.Estimate(CeilDiv(rows, parts));
    if (whole - part <= limits.hand_over) continue;
    const double apart = static_cast<double>(parts) * static_cast<double>(part.count());
    if (apart <= kSplitOverhead * together) return static_cast<int>(parts);
  }
  return static_cast<int>(needed);
}

void PickBatch(std::span<const Waiting> queue, int64_t max_rows, std::vector<uint32_t>& picks) {
  int64_t rows = 0;
  for (size_t i = 0; i < queue.size(); ++i) {
    if (queue[i].signature != queue[0].signature) continue;
    if (i > 0 && rows + queue[i].rows > max_rows) return;
    picks.push_back(static_cast<uint32_t>(i));
    rows += queue[i].rows;
  }
}

Nanos ExpectedFinish(int64_t rows, const Backlog& backlog, int64_t max_rows, const CostCurve& curve) {
  if (backlog.idle_instances > 0 && backlog.rows_ahead == 0) return curve.Estimate(rows);
  const int64_t in_sum = backlog.rows_ahead + rows;
  const int64_t batches = CeilDiv(in_sum, max_rows);
  const int64_t rounds = CeilDiv(batches, backlog.instances);
  const Nanos per_batch = curve.Estimate(std::min(in_sum, max_rows));
  return backlog.until_instance + rounds * per_batch;
}

}  // namespace falaj

// The policy of the batcher, as pure functions of what is waiting: which requests form the next batch, into
// how many batches to split what waits, and when an answer can be expected. No locks, no clock, no state.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "batch/cost_curve.h"

namespace falaj {

// One waiting request. A queue view lists them in order of service: by priority level, then by arrival.
struct Waiting {
  int64_t rows;
  uint64_t signature;  // equal shapes have equal signatures
};

struct BatchLimits {
  int64_t max_rows;    // bound of one batch; >= 1
  int idle_instances;  // that could run a batch now; >= 1
  Nanos hand_over{};   // what it takes to have another thread run one
};

// Into how many batches, to run side by side on idle instances, `rows` waiting rows are best split: as many
// as do not spend more than kSplitOverhead times the compute time of fewer, larger batches, and are done
// earlier than those by more than a hand-over takes. >= 1.
[[nodiscard]] int SplitInto(int64_t rows, const BatchLimits& limits, const CostCurve& curve);

// Appends to `picks` the indices of `queue` that form the next batch, in order.
// Guarantees: the first waiting request is picked; all picks have its signature; their rows are at most
// `max_rows` (a single larger request is picked alone); no waiting request of the signature is overtaken by
// a later one; nothing that would have fitted is left out.
// REQUIRES: queue not empty
void PickBatch(std::span<const Waiting> queue, int64_t max_rows, std::vector<uint32_t>& picks);

// What stands between a new request and its answer.
struct Backlog {
  int64_t rows_ahead;  // waiting rows that are served before it
  int idle_instances;
  int instances;
  Nanos until_instance;  // expected time until the instance that will serve it has ended what it runs now
};

// Expected time until a request of `rows` that joins `backlog` is answered; zero while nothing is learned.
[[nodiscard]] Nanos ExpectedFinish(int64_t rows, const Backlog& backlog, int64_t max_rows,
                                   const CostCurve& curve);

}  // namespace falaj

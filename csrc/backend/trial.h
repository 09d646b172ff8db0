// Measures a backend by running it, outside of any batcher: how `auto` chooses instances, threads and
// batches.
#pragma once

#include <span>

#include "backend/backend.h"
#include "core/mutex.h"

namespace falaj {

struct TrialResult {
  double rows_per_second = 0;
  Nanos per_run{0};  // mean wall time of one run while `instances` ran side by side
  int64_t runs = 0;
};

// Runs `inputs` (in the backend's order, `rows` rows) on `instances` instances at once, one thread each, for
// about `budget` of wall time after one unmeasured run each; at least one measured run each.
Result<TrialResult> MeasureThroughput(Backend& backend, std::span<const TensorView> inputs, int64_t rows,
                                      int instances, Nanos budget);

}  // namespace falaj

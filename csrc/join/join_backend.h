// A model that looks its features up: a backend around the model's own, which requests give keys.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "join/join_plan.h"
#include "join/served_log.h"

namespace falaj {

// UTC microseconds since 1970.
int64_t WallClockMicros();

// Describes itself as plan.signature says. Each batch is looked up as a whole, once for each view, as of when
// it runs; a model with BatcherOptions::tells_members is told which of its requests brought features of their
// own, and which are refused or answered from a store that did not answer in time. `plan` is of `model`,
// which keeps no characters of BYTES inputs in its outputs: the next batch overwrites them. `now` tells the
// time that look-ups are of, as WallClockMicros. `log` gets what a share of the requests was served with, but
// for warm-ups; it is of this backend alone, nullptr: nothing is logged.
std::unique_ptr<Backend> NewJoinBackend(JoinPlan plan, std::unique_ptr<Backend> model,
                                        int64_t (*now)() = &WallClockMicros,
                                        std::shared_ptr<ServedLog> log = nullptr);

}  // namespace falaj

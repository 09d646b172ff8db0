// What one model version has done, by the phases of the protocol's statistics extension.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "observe/batch_sizes.h"
#include "observe/counter.h"

namespace falaj {

// Written by one instance of the model (whoever runs its batch), read by anyone.
struct InstanceCounters {
  Counter requests_ok, requests_failed;
  Counter rows, batches;
  Counter on_submitter;                               // batches that ran on the submitting thread
  Counter queue_ns, assemble_ns, run_ns, deliver_ns;  // queue: summed over requests; the others over batches
  Counter elements, padding_elements;                 // of padded inputs: real and added
  Counter retried_alone;                              // requests run again alone after their batch failed
  Counter stale_features;                             // requests answered without what a store has now
  // Summed over answered requests (not batches), as the protocol counts them: each has its batch's phases.
  // The first is the whole, from arrival until its batch's answers were handed out: no less than the sum of
  // the others, also for who looks while a batch is being counted (see Counter).
  Counter ok_request_ns, ok_queue_ns, ok_assemble_ns, ok_run_ns, ok_deliver_ns;
  Counter failed_request_ns;
  Histogram request;  // arrival to answer, of requests that were answered
  Histogram queue, run, batch_rows;
};

// Guarded by the batcher's mutex.
struct AdmissionCounters {
  uint64_t refused_full = 0;      // the queue's bounds
  uint64_t refused_deadline = 0;  // could not be met, or had passed
  uint64_t refused_slo = 0;
  uint64_t refused_invalid = 0;  // shapes or a priority that the model has not
  uint64_t expired = 0;          // deadline passed after admission
  uint64_t cancelled = 0;
  uint64_t unloaded = 0;  // waiting when the model was closed
};

// Of a stateful model.
struct SequenceCounters {
  uint64_t live = 0;
  uint64_t in_line = 0;     // of them: waiting for a slot
  uint64_t begun = 0;       // since it was loaded, as the others
  uint64_t ended_idle = 0;  // by their idle timeout
  uint64_t refused = 0;     // starts beyond max_sequences
};

// Of a model that keeps answers. Guarded by the batcher's mutex.
struct CacheCounters {
  uint64_t hits = 0;      // answered without a run of their own: by what was kept, or by another's run
  uint64_t joined = 0;    // waited for the run of an equal request
  uint64_t misses = 0;    // had to be run
  uint64_t skipped = 0;   // run without being looked up: too large to be worth it, or not wanted
  uint64_t evicted = 0;   // answers dropped to make room
  uint64_t outdated = 0;  // answers dropped because they were too old
  uint64_t hit_ns = 0;    // looking up, summed over hits
  uint64_t miss_ns = 0;   // looking up and keeping the answer, summed over misses
  uint64_t entries = 0, bytes = 0;
};

// The sum over instances, and a moment's state.
struct ModelStats {
  uint64_t requests_ok = 0, requests_failed = 0, rows = 0, batches = 0, on_submitter = 0;
  uint64_t queue_ns = 0, assemble_ns = 0, run_ns = 0, deliver_ns = 0;
  uint64_t elements = 0, padding_elements = 0, retried_alone = 0, stale_features = 0;
  uint64_t ok_request_ns = 0, ok_queue_ns = 0, ok_assemble_ns = 0, ok_run_ns = 0, ok_deliver_ns = 0;
  uint64_t failed_request_ns = 0;
  uint64_t request_ns = 0;  // the sum of `request`'s values: arrival to answer, without handing it out
  std::array<uint64_t, Histogram::kBins> request{}, queue{}, run{}, batch_rows{};
  AdmissionCounters admission;
  CacheCounters cache;
  int64_t waiting_rows = 0;
  uint64_t waiting_requests = 0, inflight_requests = 0;
  uint64_t oldest_batch_ns = 0;  // how long the batch that runs longest has been running; 0: none runs
  uint64_t buffer_bytes = 0, model_bytes = 0;
  SequenceCounters sequences;
  std::vector<BatchSizeStats> batch_sizes;
  std::optional<uint64_t> since_answer_ns;  // since a request was last answered well; none: never

  void Merge(const InstanceCounters& part);
};

}  // namespace falaj

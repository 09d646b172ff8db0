#include "observe/model_stats.h"

namespace falaj {

void ModelStats::Merge(const InstanceCounters& part) {
  requests_ok += part.requests_ok.Get();
  requests_failed += part.requests_failed.Get();
  rows += part.rows.Get();
  batches += part.batches.Get();
  on_submitter += part.on_submitter.Get();
  queue_ns += part.queue_ns.Get();
  assemble_ns += part.assemble_ns.Get();
  run_ns += part.run_ns.Get();
  deliver_ns += part.deliver_ns.Get();
  elements += part.elements.Get();
  padding_elements += part.padding_elements.Get();
  retried_alone += part.retried_alone.Get();
  stale_features += part.stale_features.Get();
  // The parts before their whole, which was written first.
  ok_deliver_ns += part.ok_deliver_ns.Get();
  ok_run_ns += part.ok_run_ns.Get();
  ok_assemble_ns += part.ok_assemble_ns.Get();
  ok_queue_ns += part.ok_queue_ns.Get();
  ok_request_ns += part.ok_request_ns.Get();
  failed_request_ns += part.failed_request_ns.Get();
  request_ns += part.request.Sum();
  for (size_t i = 0; i < Histogram::kBins; ++i) {
    request[i] += part.request.Get(i);
    queue[i] += part.queue.Get(i);
    run[i] += part.run.Get(i);
    batch_rows[i] += part.batch_rows.Get(i);
  }
}

}  // namespace falaj

// The two ways of asking: as many as are answered (closed loop), and at a rate of one's own (open loop).
#pragma once

#include "model_under_test.h"

namespace falaj::bench {

enum class Client {
  kEventLoop,  // `threads` threads, each keeping inflight/threads requests open, as an I/O thread does
  kBlocking,   // `inflight` threads, each waiting for its one request
  kCallback,   // the answer's own thread asks again
};

struct ClosedResult {
  double requests_per_second = 0;
  double cpu_us_per_request = 0;
  double rows_per_batch = 0;
  double on_submitter = 0;  // share of batches
};
ClosedResult RunClosed(const Settings& settings, Client client, int threads, int inflight);

struct OpenResult {
  double offered_per_second = 0;
  double answered_per_second = 0;
  double good_per_second = 0;  // answered within slo_ms of the scheduled arrival
  double refused_share = 0;
  double queue_p50_ms = 0, queue_p99_ms = 0, queue_p999_ms = 0;
  double latency_p50_ms = 0, latency_p99_ms = 0;
  double refusal_p99_ms = 0, refusal_max_ms = 0;
  double rows_per_batch = 0;
  double late_arrivals_p99_ms = 0;  // how late the generator itself was
};
// Poisson arrivals at `rate` per second, coordinated omission excluded: latency counts from the scheduled
// time.
OpenResult RunOpen(const Settings& settings, double rate);

}  // namespace falaj::bench

// Asking a server, as fast as it answers or at a rate of one's own, and what came of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "load/load_client.h"
#include "process_cpu.h"

namespace falaj::bench {

struct LoadOptions {
  size_t connections = 1;
  size_t streams = 1;       // requests under way at a time on a connection; HTTP: 1
  double warm_up = 0.4;     // seconds
  double seconds = 2;       // that are measured
  double rate = 0;          // requests per second by Poisson arrivals; 0: closed loop
  size_t length_slack = 0;  // bytes that the length of an answer may differ from the first's
  int pid = 0;              // of the server, whose CPU is read; 0: unknown
};

struct LoadResult {
  uint64_t requests = 0;  // answered well in the measured time
  uint64_t answered = 0;  // well, at any time, so that a server's own count can be compared
  uint64_t errors = 0;    // at any time; a connection that the server ended is one too
  std::string first_error;
  double seconds = 0;
  load::LatencyHistogram latency;
  load::LatencyHistogram late;  // open loop: how late the generator itself was
  size_t answer_bytes = 0;
  double server_cpu_seconds = 0;
  double own_cpu_seconds = 0;
};

// Belongs to one thread. Warms up, measures, and waits for what is under way, so that nothing is cut off.
class Load {
 public:
  // Ends the program where it cannot connect.
  Load(std::shared_ptr<const load::Target> target, const LoadOptions& options);
  LoadResult Run();

 private:
  void RunClosed();
  void RunOpen();
  void BeginMeasuring();
  void EndMeasuring();
  // Closed loop, until then; it ends early where there are too many errors.
  void AskUntil(TimePoint end);
  // Waits for what is under way, without asking anything.
  void Drain();
  // Adds up what came, and returns it.
  load::Tally Collect();
  void Error(const std::string& what, uint64_t times);
  bool given_up() const;

  const LoadOptions options_;
  load::LoadClient client_;
  std::optional<ProcessCpu> server_cpu_;
  ProcessCpu own_cpu_{0};
  TimePoint begin_;
  LoadResult result_;
};

}  // namespace falaj::bench

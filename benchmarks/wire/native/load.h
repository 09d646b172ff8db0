// Asking a server, as fast as it answers or at a rate of one's own, and what came of it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "latency_histogram.h"
#include "load_connection.h"
#include "process_cpu.h"

namespace falaj::bench {

struct LoadOptions {
  size_t connections = 1;
  double warm_up = 0.4;     // seconds
  double seconds = 2;       // that are measured
  double rate = 0;          // requests per second by Poisson arrivals; 0: closed loop
  size_t length_slack = 0;  // bytes that the length of an answer may differ from the first's
  int pid = 0;              // of the server, whose CPU is read; 0: unknown
};

struct LoadResult {
  uint64_t requests = 0;  // answered well in the measured time
  uint64_t answered = 0;  // well, at any time, so that a server's own count can be compared
  uint64_t errors = 0;    // at any time
  std::string first_error;
  double seconds = 0;
  LatencyHistogram latency;
  LatencyHistogram late;  // open loop: how late the generator itself was
  size_t answer_bytes = 0;
  double server_cpu_seconds = 0;
  double own_cpu_seconds = 0;
};

// Belongs to one thread. Warms up, measures, and waits for what is under way, so that nothing is cut off.
class Load final : public AnswerSink {
 public:
  // The target outlives it.
  Load(const LoadTarget& target, const LoadOptions& options);
  ~Load() override;
  LoadResult Run();

  void OnAnswer(const Answer& answer) override;

 private:
  void RunClosed();
  void RunOpen();
  std::vector<TimePoint> Arrivals(TimePoint begin) const;
  void BeginMeasuring();
  void EndMeasuring();

  // Asks again on every connection that has room, until `end`.
  void AskUntil(TimePoint end);
  // Waits for what is under way, without asking anything.
  void Drain();
  void Poll(std::chrono::nanoseconds timeout, bool ask_again);
  void Fill(size_t index);
  void SendBacklog();
  size_t UnderWay() const;

  bool Open(size_t index);
  void Reopen(size_t index);
  void Error(const char* what, uint64_t times = 1);

  const LoadTarget& target_;
  const LoadOptions options_;
  Epoll epoll_;
  std::vector<std::unique_ptr<LoadConnection>> connections_;
  std::deque<TimePoint> backlog_;  // of the open loop: arrived, and no connection had room
  TimePoint now_;                  // when what is being read was woken for
  bool measuring_ = false;
  bool given_up_ = false;
  std::optional<size_t> first_length_;
  std::optional<ProcessCpu> server_cpu_;
  ProcessCpu own_cpu_{0};
  TimePoint begin_;
  LoadResult result_;
};

}  // namespace falaj::bench

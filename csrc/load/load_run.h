// A load on a server: threads that ask, and what came of it, a window of time after the other.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "core/status.h"
#include "load/load_client.h"

namespace falaj::load {

struct RunOptions {
  Pace pace = Pace::kClosed;
  double rate = 0;         // requests a second of all threads; open loops
  size_t concurrency = 1;  // requests under way at most
  size_t streams = 1;      // of them on a connection; HTTP: 1
  size_t threads = 1;      // fewer where there are fewer connections
  Nanos warm_up = std::chrono::seconds(1);
  Nanos window = std::chrono::seconds(1);
  Nanos timeout = std::chrono::seconds(10);
  // Of which the requests are; none: of none. A closed loop has as many live as requests under way, whatever
  // `live` says.
  std::optional<SequenceOptions> sequences = {};
};

struct Window {
  double seconds = 0;           // its length, the mean of the threads'
  double cpu_seconds = 0;       // of the threads
  uint64_t unsent = 0;          // at its end: requests whose time had come and that found no connection
  uint64_t sequences_left = 0;  // of the one that Stop returns: those that the server may keep
  Tally tally;
};

// 1. Every answer is in one window: that in which it came, or the last one, which Stop returns. Those of the
// warm-up
//    are in none.
// 2. A window is returned once all threads have told theirs. What is not asked for is dropped, the oldest
// first.
// 3. The destructor stops the threads and joins them; it waits for no answers.
class LoadRun {
 public:
  // Connects, and begins. Fails with InvalidInput, or with Unavailable where a connection cannot be made.
  static Result<std::unique_ptr<LoadRun>> Start(std::shared_ptr<const Target> target,
                                                const RunOptions& options);
  ~LoadRun();
  LoadRun(const LoadRun&) = delete;
  LoadRun& operator=(const LoadRun&) = delete;

  // The next window, in their order; nothing where none ended until `end`. Called from one thread at a time.
  std::optional<Window> Next(TimePoint end) EXCLUDES(mu_);
  // Asks no more, waits up to `grace` for what is under way, and returns that: latencies of requests that
  // took so long belong to the others', throughput to none. Sequences are ended in the same time. Nothing
  // where it was stopped before.
  Window Stop(Nanos grace) EXCLUDES(mu_);

 private:
  // What one of the threads does.
  class Worker;

  LoadRun(std::shared_ptr<const Target> target, const RunOptions& options);
  void Main(size_t index) EXCLUDES(mu_);
  bool WaitToBegin(const Status& connected) EXCLUDES(mu_);
  void Tell(uint64_t window, Window&& part) EXCLUDES(mu_);
  void TellRest(Window&& part) EXCLUDES(mu_);
  void JoinAll();

  const std::shared_ptr<const Target> target_;
  const RunOptions options_;
  const size_t connections_;
  const size_t workers_;
  std::atomic<bool> stopping_{false};  // read by the workers between turns
  std::vector<std::thread> threads_;   // the owner's

  Mutex mu_;
  CondVar changed_;
  size_t connected_ GUARDED_BY(mu_) = 0;  // workers that are, or have failed to
  Status failed_ GUARDED_BY(mu_);         // the first that failed
  std::optional<TimePoint> begin_ GUARDED_BY(mu_);
  TimePoint drain_end_ GUARDED_BY(mu_);
  struct Told {
    size_t parts = 0;
    Window window;
  };
  std::deque<Told> told_ GUARDED_BY(mu_);
  uint64_t first_told_ GUARDED_BY(mu_) = 0;  // number of the window at the front
  Window rest_ GUARDED_BY(mu_);
};

}  // namespace falaj::load

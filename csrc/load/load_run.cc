#include "load/load_run.h"

#include <sys/prctl.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>

#include "load/blocked_sigpipe.h"

namespace falaj::load {
namespace {

using std::chrono::steady_clock;

constexpr auto kConnectTime = std::chrono::seconds(10);
// How often a worker looks whether it is to stop.
constexpr auto kSlice = std::chrono::milliseconds(20);
// Windows that nobody asked for: memory is bounded.
constexpr size_t kMostTold = 64;
constexpr double kForEver = std::numeric_limits<double>::infinity();

double ThreadCpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double SecondsOf(Nanos time) { return std::chrono::duration<double>(time).count(); }

Status CheckSequences(const SequenceOptions& sequences) {
  if (sequences.live < 1) return InvalidInput("sequences: expected at least 1");
  if (sequences.least_length < 1 || sequences.most_length < sequences.least_length) {
    return InvalidInput("length of sequences: expected at least 1, and no range that ends before it begins");
  }
  if (sequences.first_id < 1 || sequences.ids > UINT64_MAX - sequences.first_id + 1) {
    return InvalidInput("ids of sequences: expected 1 to 2^64 - 1");
  }
  if (sequences.ids < sequences.live) {
    return InvalidInput("ids of sequences: expected at least " + std::to_string(sequences.live) +
                        ", as many as are live at a time, got " + std::to_string(sequences.ids));
  }
  return Status::Ok();
}

Status Check(const Target& target, const RunOptions& options) {
  constexpr size_t kMost = 65'536;
  const auto range = [](const char* what, size_t got) {
    return InvalidInput(std::string(what) + ": expected 1 to 65536, got " + std::to_string(got));
  };
  if (options.concurrency < 1 || options.concurrency > kMost)
    return range("concurrency", options.concurrency);
  if (options.streams < 1 || options.streams > kMost) return range("streams", options.streams);
  if (options.threads < 1 || options.threads > kMost) return range("threads", options.threads);
  if (options.streams > 1 && target.options().protocol == Protocol::kHttp) {
    return InvalidInput("streams: expected 1 with HTTP, whose connections carry one request at a time");
  }
  if (options.pace != Pace::kClosed && !(options.rate > 0 && options.rate <= 1e9)) {
    return InvalidInput("rate: expected above 0, and at most 1e9 requests a second");
  }
  if (options.window <= Nanos(0) || options.warm_up < Nanos(0) || options.timeout <= Nanos(0)) {
    return InvalidInput("window and timeout: expected more than 0 seconds");
  }
  if (options.sequences && options.sequences->live > kMost)
    return range("sequences", options.sequences->live);
  return options.sequences ? CheckSequences(*options.sequences) : Status::Ok();
}

// With as many live sequences as there will be.
RunOptions Completed(RunOptions options) {
  if (options.sequences && options.pace == Pace::kClosed) options.sequences->live = options.concurrency;
  return options;
}

// Each worker has a connection, and a sequence.
size_t WorkersOf(const RunOptions& options, size_t connections) {
  return std::min({options.threads, connections, options.sequences ? options.sequences->live : connections});
}

}  // namespace

// Its share of the connections and of the rate. Lives on its thread.
class LoadRun::Worker {
 public:
  Worker(const LoadRun& run, size_t index)
      : run_(run),
        rate_(run.options_.rate / static_cast<double>(run.workers_)),
        noticed_(run.options_.pace, Rate(), index + 1, First(index)),
        sent_(noticed_),
        client_(run.target_, OptionsOf(run, index)) {}

  LoadClient& client() { return client_; }
  void Begin(TimePoint begin) {
    begin_ = window_begin_ = begin;
    cpu_ = ThreadCpuSeconds();
  }

  // Asks until then, or until the run is stopped.
  void RunUntil(TimePoint end) {
    for (TimePoint now = steady_clock::now(); now < end && !run_.stopping_.load(std::memory_order_relaxed);
         now = steady_clock::now()) {
      const TimePoint until = std::min<TimePoint>(end, now + kSlice);
      if (run_.options_.pace == Pace::kClosed) {
        client_.RunClosed(until);
      } else {
        client_.RunOpen(noticed_, sent_, begin_, kForEver, until);
      }
    }
  }

  // What came since the last call.
  Window Take() {
    Window part;
    client_.Take(part.tally);
    const TimePoint now = steady_clock::now();
    const double cpu = ThreadCpuSeconds();
    part.seconds = SecondsOf(now - window_begin_);
    part.cpu_seconds = cpu - cpu_;
    part.unsent = noticed_.passed() - sent_.passed();
    window_begin_ = now;
    cpu_ = cpu;
    return part;
  }

 private:
  static ClientOptions OptionsOf(const LoadRun& run, size_t index) {
    ClientOptions options;
    options.timeout = run.options_.timeout;
    options.first_request = index * (run.connections_ / run.workers_ + 1);
    for (size_t i = index; i < run.connections_; i += run.workers_) {
      options.streams.push_back(SlotsBefore(run, i + 1) - SlotsBefore(run, i));
      options.slots.push_back(SlotsBefore(run, i));
    }
    options.in_turn = run.options_.pace != Pace::kClosed;
    options.seed = index + 1;
    if (run.options_.sequences) options.sequences = ShareOf(run, index);
    return options;
  }
  // The remainder is spread over the first connections.
  static size_t SlotsBefore(const LoadRun& run, size_t connection) {
    const size_t least = run.options_.concurrency / run.connections_;
    return connection * least + std::min(connection, run.options_.concurrency % run.connections_);
  }
  // Each worker has ids of its own, as many as it needs or more: a range for each live sequence, one longer
  // for the first ones where they do not come out even.
  static SequenceOptions ShareOf(const LoadRun& run, size_t index) {
    SequenceOptions share = *run.options_.sequences;
    size_t before = 0;
    for (size_t i = 0; i < index; ++i) before += LiveOf(run, i);
    const uint64_t each = share.ids / share.live;
    const uint64_t more = share.ids % share.live;
    const auto begin = [&](size_t live) { return each * live + std::min<uint64_t>(live, more); };
    share.live = LiveOf(run, index);
    share.first_id += begin(before);
    share.ids = begin(before + share.live) - begin(before);
    return share;
  }
  static size_t LiveOf(const LoadRun& run, size_t index) {
    const RunOptions& options = run.options_;
    if (options.pace != Pace::kClosed) {
      const size_t live = options.sequences->live;
      return live / run.workers_ + (index < live % run.workers_ ? 1 : 0);
    }
    size_t sum = 0;
    for (size_t i = index; i < run.connections_; i += run.workers_) {
      sum += SlotsBefore(run, i + 1) - SlotsBefore(run, i);
    }
    return sum;
  }
  double Rate() const { return rate_ > 0 ? rate_ : 1; }
  // Constant arrivals of several threads lie between each other.
  double First(size_t index) const {
    return (static_cast<double>(index) + 1) / static_cast<double>(run_.workers_);
  }

  const LoadRun& run_;
  const double rate_;
  Arrivals noticed_;
  Arrivals sent_;
  LoadClient client_;
  TimePoint begin_;
  TimePoint window_begin_;
  double cpu_ = 0;
};

Result<std::unique_ptr<LoadRun>> LoadRun::Start(std::shared_ptr<const Target> target,
                                                const RunOptions& options) {
  const RunOptions completed = Completed(options);
  FALAJ_RETURN_IF_ERROR(Check(*target, completed));
  std::unique_ptr<LoadRun> run(new LoadRun(std::move(target), completed));
  for (size_t i = 0; i < run->workers_; ++i) {
    run->threads_.emplace_back([self = run.get(), i] { self->Main(i); });
  }
  Status failed;
  {
    const MutexLock lock(run->mu_);
    while (run->connected_ < run->workers_) run->changed_.Wait(run->mu_);
    failed = run->failed_;
    if (failed.ok()) run->begin_ = steady_clock::now();
  }
  if (!failed.ok()) return failed;  // the destructor ends those that wait
  run->changed_.NotifyAll();
  return run;
}

LoadRun::LoadRun(std::shared_ptr<const Target> target, const RunOptions& options)
    : target_(std::move(target)),
      options_(options),
      connections_((options.concurrency + options.streams - 1) / options.streams),
      workers_(WorkersOf(options, connections_)) {}

LoadRun::~LoadRun() { Stop(Nanos(0)); }

std::optional<Window> LoadRun::Next(TimePoint end) {
  const MutexLock lock(mu_);
  while (told_.empty() || told_.front().parts < workers_) {
    if (steady_clock::now() >= end) return std::nullopt;
    changed_.WaitUntil(mu_, end);
  }
  Window window = std::move(told_.front().window);
  told_.pop_front();
  ++first_told_;
  window.seconds /= static_cast<double>(workers_);
  return window;
}

Window LoadRun::Stop(Nanos grace) {
  {
    const MutexLock lock(mu_);
    drain_end_ = steady_clock::now() + grace;
    stopping_.store(true, std::memory_order_relaxed);
  }
  changed_.NotifyAll();
  JoinAll();
  const MutexLock lock(mu_);
  Window rest = std::move(rest_);
  rest_ = Window();
  return rest;
}

void LoadRun::JoinAll() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void LoadRun::Main(size_t index) {
  const BlockedSigpipe blocked;
  prctl(PR_SET_NAME, "falaj-bench");
  prctl(PR_SET_TIMERSLACK, 1UL);  // arrivals are met to the microsecond
  Worker worker(*this, index);
  if (!WaitToBegin(worker.client().Connect(steady_clock::now() + kConnectTime))) return;
  TimePoint begin;
  {
    const MutexLock lock(mu_);
    begin = begin_.value_or(steady_clock::now());
  }
  worker.Begin(begin);
  TimePoint end = begin + options_.warm_up;
  worker.RunUntil(end);
  worker.Take();
  uint64_t window = 0;
  while (true) {
    end += options_.window;
    worker.RunUntil(end);
    if (stopping_.load(std::memory_order_relaxed)) break;
    Tell(window++, worker.Take());
  }
  TimePoint drain_end;
  {
    const MutexLock lock(mu_);
    drain_end = drain_end_;
  }
  worker.client().Drain(drain_end);
  Window rest = worker.Take();
  rest.sequences_left = worker.client().sequences_left();
  if (const size_t missing = worker.client().unanswered(); missing > 0) {
    rest.tally.errors.Add({Failure::kTimeout}, "a request was not answered by the end", {}, missing);
  }
  TellRest(std::move(rest));
}

// False: it does not come to that.
bool LoadRun::WaitToBegin(const Status& connected) {
  const MutexLock lock(mu_);
  ++connected_;
  if (!connected.ok() && failed_.ok()) failed_ = connected;
  changed_.NotifyAll();
  while (!begin_ && !stopping_.load(std::memory_order_relaxed)) changed_.Wait(mu_);
  return begin_.has_value();
}

void LoadRun::Tell(uint64_t window, Window&& part) {
  const MutexLock lock(mu_);
  if (window < first_told_) return;  // it was dropped
  while (told_.size() <= window - first_told_) told_.emplace_back();
  Told& told = told_[window - first_told_];
  ++told.parts;
  told.window.seconds += part.seconds;
  told.window.cpu_seconds += part.cpu_seconds;
  told.window.unsent += part.unsent;
  told.window.tally.Merge(part.tally);
  while (told_.size() > kMostTold) {
    told_.pop_front();
    ++first_told_;
  }
  changed_.NotifyAll();
}

void LoadRun::TellRest(Window&& part) {
  const MutexLock lock(mu_);
  rest_.cpu_seconds += part.cpu_seconds;
  rest_.unsent += part.unsent;
  rest_.sequences_left += part.sequences_left;
  rest_.tally.Merge(part.tally);
}

}  // namespace falaj::load

#include "load.h"

#include <algorithm>
#include <vector>

#include "fatal.h"

namespace falaj::bench {
namespace {

using std::chrono::nanoseconds;
using std::chrono::steady_clock;

// What is under way at the end is waited for so long.
constexpr auto kGrace = std::chrono::seconds(10);
// So many errors are not a measurement of anything: asking on would only fill the log of the server.
constexpr uint64_t kMostErrors = 1000;
// How often errors are counted.
constexpr auto kSlice = std::chrono::milliseconds(50);
// The arrivals of falaj_engine_bench at the same rate: the same generator, the same seed. As there, the
// timer's slack is left as it is, so that both generators are equally late.
constexpr uint64_t kSeed = 7;

nanoseconds Seconds(double seconds) { return nanoseconds(static_cast<int64_t>(seconds * 1e9)); }

load::ClientOptions ClientOf(const LoadOptions& options) {
  load::ClientOptions client;
  client.streams = std::vector<size_t>(options.connections, options.streams);
  client.length_slack = options.length_slack;
  client.timeout = Seconds(options.warm_up + options.seconds) + 2 * kGrace;  // none is given up earlier
  return client;
}

}  // namespace

Load::Load(std::shared_ptr<const load::Target> target, const LoadOptions& options)
    : options_(options), client_(std::move(target), ClientOf(options)) {
  if (options.pid > 0) server_cpu_.emplace(options.pid);
  if (const Status status = client_.Connect(steady_clock::now() + kGrace); !status.ok())
    Fatal(status.message());
}

LoadResult Load::Run() {
  AskUntil(steady_clock::now() + Seconds(options_.warm_up));
  if (options_.rate > 0) {
    RunOpen();
  } else {
    RunClosed();
  }
  result_.answer_bytes = client_.first_length();
  return result_;
}

void Load::RunClosed() {
  BeginMeasuring();
  const TimePoint end = begin_ + Seconds(options_.seconds);
  AskUntil(end);
  // Where one request takes longer than that: the one that is under way.
  for (TimePoint now = end; client_.tally().answered == 0 && now < end + kGrace && !given_up();) {
    client_.RunClosed(now + std::chrono::milliseconds(1));
    now = steady_clock::now();
  }
  EndMeasuring();
  Drain();
}

void Load::RunOpen() {
  Drain();
  BeginMeasuring();
  load::Arrivals noticed(load::Pace::kPoisson, options_.rate, kSeed, 0);
  load::Arrivals sent = noticed;
  const TimePoint last = begin_ + Seconds(options_.seconds) + kGrace;
  const auto missing = [&] { return client_.under_way() + noticed.passed() - sent.passed(); };
  for (TimePoint now = begin_; now < last && !given_up(); now = steady_clock::now()) {
    client_.RunOpen(noticed, sent, begin_, options_.seconds, std::min<TimePoint>(last, now + kSlice));
    if (noticed.next() >= options_.seconds && missing() == 0) break;
  }
  EndMeasuring();
  for (; noticed.next() < options_.seconds; noticed.Advance()) {
  }
  if (missing() > 0) Error("a request was not answered within 10 s of the end", missing());
}

void Load::BeginMeasuring() {
  Collect();
  if (server_cpu_) result_.server_cpu_seconds = -server_cpu_->Seconds();
  result_.own_cpu_seconds = -own_cpu_.Seconds();
  begin_ = steady_clock::now();
}

void Load::EndMeasuring() {
  result_.seconds = std::chrono::duration<double>(steady_clock::now() - begin_).count();
  if (server_cpu_) result_.server_cpu_seconds += server_cpu_->Seconds();
  result_.own_cpu_seconds += own_cpu_.Seconds();
  const load::Tally tally = Collect();
  result_.requests = tally.answered;
  result_.latency = tally.latency;
  result_.late = tally.late;
}

void Load::AskUntil(TimePoint end) {
  TimePoint now = steady_clock::now();
  do {  // once at least, though the warm-up is of no length
    client_.RunClosed(std::min<TimePoint>(end, now + kSlice));
    now = steady_clock::now();
  } while (now < end && !given_up());
}

void Load::Drain() {
  if (!given_up()) client_.Drain(steady_clock::now() + kGrace);
  if (client_.under_way() > 0 && !given_up()) {
    Error("a request was not answered within 10 s of the end", client_.under_way());
  }
  Collect();
}

load::Tally Load::Collect() {
  load::Tally tally;
  client_.Take(tally);
  result_.answered += tally.answered;
  for (const auto& [kind, row] : tally.errors.rows()) Error(row.text, row.count);
  if (tally.reconnects > 0) Error("the server closed a connection", tally.reconnects);
  return tally;
}

void Load::Error(const std::string& what, uint64_t times) {
  if (result_.errors == 0) result_.first_error = what;
  result_.errors += times;
}

bool Load::given_up() const { return result_.errors + client_.tally().errors.total() >= kMostErrors; }

}  // namespace falaj::bench

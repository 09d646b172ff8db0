#include "load.h"

#include <cerrno>
#include <cstring>
#include <random>

#include "fatal.h"

namespace falaj::bench {
namespace {

using std::chrono::nanoseconds;
using std::chrono::steady_clock;

// What is under way at the end is waited for so long.
constexpr auto kGrace = std::chrono::seconds(10);
// So many errors are not a measurement of anything: asking on would only fill the log of the server.
constexpr uint64_t kMostErrors = 1000;

nanoseconds Seconds(double seconds) { return nanoseconds(static_cast<int64_t>(seconds * 1e9)); }

}  // namespace

Load::Load(const LoadTarget& target, const LoadOptions& options)
    : target_(target), options_(options), connections_(options.connections) {
  if (options.pid > 0) server_cpu_.emplace(options.pid);
  for (size_t i = 0; i < connections_.size(); ++i) {
    if (!Open(i)) FatalErrno("cannot connect to " + target.host + ":" + std::to_string(target.port));
  }
}

Load::~Load() = default;

LoadResult Load::Run() {
  AskUntil(steady_clock::now() + Seconds(options_.warm_up));
  if (options_.rate > 0) {
    RunOpen();
  } else {
    RunClosed();
  }
  return result_;
}

void Load::RunClosed() {
  BeginMeasuring();
  const TimePoint end = begin_ + Seconds(options_.seconds);
  AskUntil(end);
  // Where one request takes longer than that: the one that is under way.
  for (TimePoint now = end; result_.requests == 0 && now < end + kGrace && !given_up_;) {
    Poll(end + kGrace - now, true);
    now = steady_clock::now();
  }
  EndMeasuring();
  Drain();
}

void Load::RunOpen() {
  Drain();
  BeginMeasuring();
  const std::vector<TimePoint> arrivals = Arrivals(begin_);
  const TimePoint last = begin_ + Seconds(options_.seconds) + kGrace;
  size_t next = 0;
  for (TimePoint now = begin_; now < last && !given_up_; now = steady_clock::now()) {
    for (; next < arrivals.size() && arrivals[next] <= now; ++next) {
      result_.late.Add(now - arrivals[next]);
      backlog_.push_back(arrivals[next]);
    }
    SendBacklog();
    if (next == arrivals.size() && backlog_.empty() && UnderWay() == 0) break;
    Poll((next < arrivals.size() ? arrivals[next] : last) - now, false);
  }
  EndMeasuring();
  const size_t missing = UnderWay() + backlog_.size() + arrivals.size() - next;
  if (missing > 0) Error("a request was not answered within 10 s of the end", missing);
}

// The arrivals of falaj_engine_bench at the same rate: the same generator, the same seed. As there, the
// timer's slack is left as it is, so that both generators are equally late.
std::vector<TimePoint> Load::Arrivals(TimePoint begin) const {
  std::mt19937_64 generator(7);
  std::exponential_distribution<double> gap(options_.rate);
  std::vector<TimePoint> arrivals;
  for (double at = gap(generator); at < options_.seconds; at += gap(generator)) {
    arrivals.push_back(begin + Seconds(at));
  }
  return arrivals;
}

void Load::BeginMeasuring() {
  measuring_ = true;
  if (server_cpu_) result_.server_cpu_seconds = -server_cpu_->Seconds();
  result_.own_cpu_seconds = -own_cpu_.Seconds();
  begin_ = steady_clock::now();
}

void Load::EndMeasuring() {
  measuring_ = false;
  result_.seconds = std::chrono::duration<double>(steady_clock::now() - begin_).count();
  if (server_cpu_) result_.server_cpu_seconds += server_cpu_->Seconds();
  result_.own_cpu_seconds += own_cpu_.Seconds();
}

void Load::AskUntil(TimePoint end) {
  for (size_t i = 0; i < connections_.size(); ++i) Fill(i);
  for (TimePoint now = steady_clock::now(); now < end && !given_up_; now = steady_clock::now()) {
    Poll(end - now, true);
  }
}

void Load::Drain() {
  const TimePoint end = steady_clock::now() + kGrace;
  for (TimePoint now = steady_clock::now(); now < end && !given_up_; now = steady_clock::now()) {
    if (UnderWay() == 0) return;
    Poll(end - now, false);
  }
  if (UnderWay() > 0 && !given_up_) Error("a request was not answered within 10 s of the end", UnderWay());
}

void Load::Poll(nanoseconds timeout, bool ask_again) {
  for (const epoll_event& event : epoll_.Wait(timeout)) {
    const auto index = static_cast<size_t>(event.data.u64);
    now_ = steady_clock::now();
    if (!connections_[index]->OnEvents(event.events)) Reopen(index);
    if (given_up_) return;
    if (ask_again) Fill(index);
  }
}

void Load::Fill(size_t index) {
  LoadConnection& connection = *connections_[index];
  if (!connection.HasRoom()) return;
  const TimePoint now = steady_clock::now();
  while (connection.HasRoom()) connection.Send(now);
  if (!connection.Flush()) Reopen(index);
}

void Load::SendBacklog() {
  for (size_t i = 0; i < connections_.size() && !backlog_.empty() && !given_up_; ++i) {
    if (!connections_[i]->HasRoom()) continue;
    for (; connections_[i]->HasRoom() && !backlog_.empty(); backlog_.pop_front()) {
      connections_[i]->Send(backlog_.front());
    }
    if (!connections_[i]->Flush()) Reopen(i);
  }
}

size_t Load::UnderWay() const {
  size_t sum = 0;
  for (const auto& connection : connections_) sum += connection->under_way();
  return sum;
}

bool Load::Open(size_t index) {
  FileDescriptor socket = ConnectTo(target_.host, target_.port);
  if (!socket.valid()) return false;
  epoll_.Add(socket.get(), index);
  const auto make = target_.protocol == LoadProtocol::kHttp ? &MakeHttpConnection : &MakeGrpcConnection;
  connections_[index] = make(std::move(socket), target_, *this);
  return true;
}

void Load::Reopen(size_t index) {
  Error(connections_[index]->problem(), std::max<uint64_t>(1, connections_[index]->under_way()));
  if (!given_up_ && !Open(index)) {
    Error("the server takes no more connections");
    given_up_ = true;
  }
}

void Load::OnAnswer(const Answer& answer) {
  if (answer.problem != nullptr) return Error(answer.problem);
  if (!first_length_) first_length_ = result_.answer_bytes = answer.bytes;
  const size_t off = std::max(answer.bytes, *first_length_) - std::min(answer.bytes, *first_length_);
  if (off > options_.length_slack) return Error("an answer is not as long as the first one");
  ++result_.answered;
  if (!measuring_) return;
  ++result_.requests;
  result_.latency.Add(now_ - answer.since);
}

void Load::Error(const char* what, uint64_t times) {
  if (result_.errors == 0) result_.first_error = what;
  result_.errors += times;
  if (result_.errors >= kMostErrors) given_up_ = true;
}

}  // namespace falaj::bench

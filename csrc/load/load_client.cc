#include "load/load_client.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace falaj::load {
namespace {

using std::chrono::steady_clock;

// How often requests that are too old and connections that are to be made again are looked for.
constexpr auto kChores = std::chrono::milliseconds(20);
// A server that takes no connections, or ends them at once, is not asked for them all the time.
constexpr auto kPause = std::chrono::milliseconds(100);

Nanos Seconds(double seconds) { return Nanos(static_cast<int64_t>(seconds * 1e9)); }

}  // namespace

void Tally::Merge(const Tally& other) {
  latency.Merge(other.latency);
  late.Merge(other.late);
  errors.Merge(other.errors);
  answered += other.answered;
  reconnects += other.reconnects;
}

void Tally::Clear() {
  latency.Clear();
  late.Clear();
  errors.Clear();
  answered = reconnects = 0;
}

LoadClient::LoadClient(std::shared_ptr<const Target> target, ClientOptions options)
    : target_(std::move(target)), options_(std::move(options)), places_(options_.streams.size()) {}

LoadClient::~LoadClient() = default;

Status LoadClient::Connect(TimePoint end) {
  if (!poller_.valid()) return Unavailable(std::string("cannot wait for sockets: ") + std::strerror(errno));
  for (size_t i = 0; i < places_.size(); ++i) Open(i);
  const auto is_open = [](const Place& place) {
    return place.connection != nullptr && place.connection->is_open();
  };
  while (tally_.errors.total() == 0 && !std::all_of(places_.begin(), places_.end(), is_open)) {
    const TimePoint now = steady_clock::now();
    if (now >= end) return Unavailable("cannot connect to " + target_->authority() + ": no answer in time");
    Turn(end, false);
  }
  if (tally_.errors.total() == 0) return Status::Ok();
  const std::string why = tally_.errors.rows().begin()->second.text;
  return Unavailable("cannot connect to " + target_->authority() + ": " + why);
}

void LoadClient::RunClosed(TimePoint end) {
  for (size_t i = 0; i < places_.size(); ++i) Fill(i);
  while (steady_clock::now() < end) Turn(end, true);
}

void LoadClient::RunOpen(Arrivals& noticed, Arrivals& sent, TimePoint begin, double last, TimePoint end) {
  for (TimePoint now = steady_clock::now(); now < end; now = steady_clock::now()) {
    for (TimePoint at; noticed.next() < last && (at = begin + Seconds(noticed.next())) <= now;
         noticed.Advance()) {
      tally_.late.Add(now - at);
    }
    SendArrived(noticed, sent, begin);
    const bool more = noticed.next() < last;
    if (!more && sent.passed() == noticed.passed() && under_way() == 0) return;
    Turn(more ? std::min(end, begin + Seconds(noticed.next())) : end, false);
  }
}

void LoadClient::Drain(TimePoint end) {
  while (under_way() > 0 && steady_clock::now() < end) Turn(end, false);
}

void LoadClient::Take(Tally& into) {
  into.Clear();
  std::swap(into, tally_);
}

size_t LoadClient::under_way() const {
  size_t sum = 0;
  for (const Place& place : places_) sum += place.connection == nullptr ? 0 : place.connection->under_way();
  return sum;
}

void LoadClient::OnAnswer(const Answer& answer) {
  if (answer.failure) {
    tally_.errors.Add(*answer.failure, answer.text, answer.body);
    return;
  }
  if (!first_length_) first_length_ = answer.bytes;
  const size_t off = std::max(answer.bytes, *first_length_) - std::min(answer.bytes, *first_length_);
  if (options_.length_slack && off > *options_.length_slack) {
    tally_.errors.Add({Failure::kLength}, "an answer is not as long as the first one");
    return;
  }
  ++tally_.answered;
  tally_.latency.Add(now_ - answer.since);
}

void LoadClient::Open(size_t index) {
  Place& place = places_[index];
  place.connection.reset();
  place.begun = steady_clock::now();
  FileDescriptor socket = BeginConnecting(target_->address());
  const int fd = socket.get();
  TlsHandle tls = socket.valid() ? target_->NewTlsOn(fd) : nullptr;
  const bool secured = tls != nullptr || !target_->options().tls;
  if (!socket.valid() || !secured || !poller_.Add(fd, index)) {
    tally_.errors.Add({Failure::kConnect},
                      socket.valid() && !secured ? "no memory is left" : std::strerror(errno));
    place.again = place.begun + kPause;
    return;
  }
  Stream stream(std::move(socket), std::move(tls));
  RequestSource requests(target_, options_.first_request + index);
  place.connection =
      target_->options().protocol == Protocol::kHttp
          ? MakeHttpConnection(std::move(stream), std::move(requests), *this)
          : MakeGrpcConnection(std::move(stream), std::move(requests), options_.streams[index], *this);
}

void LoadClient::Reopen(size_t index) {
  Connection& connection = *places_[index].connection;
  const Connection::End& end = connection.end();
  const size_t lost = connection.under_way();
  const Failure failure = end.failure ? end.failure->failure : Failure::kClosed;
  const bool is_end = failure == Failure::kClosed || failure == Failure::kReset;
  if (lost == 0 && is_end) {
    ++tally_.reconnects;
  } else {
    const char* const closed = "the server closed a connection";
    tally_.errors.Add({failure}, end.failure ? std::string_view(end.text) : closed, {},
                      std::max<size_t>(1, lost));
  }
  const TimePoint now = steady_clock::now();
  const bool soon = now - places_[index].begun < kPause;
  if (!end.failure || !soon) return Open(index);
  places_[index].connection.reset();
  places_[index].again = now + kPause;
}

void LoadClient::Turn(TimePoint end, bool ask_again) {
  TimePoint now = steady_clock::now();
  if (now >= chores_) DoChores(now);
  const Nanos wait = std::min(end, chores_) - now;
  for (const epoll_event& event : poller_.Wait(std::max(wait, Nanos(0)))) {
    const auto index = static_cast<size_t>(event.data.u64);
    if (places_[index].connection == nullptr) continue;
    now_ = steady_clock::now();
    if (!places_[index].connection->OnEvents(event.events)) Reopen(index);
    if (ask_again) Fill(index);
  }
}

void LoadClient::DoChores(TimePoint now) {
  chores_ = now + kChores;
  now_ = now;
  for (size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].connection == nullptr) {
      if (now >= places_[i].again) Open(i);
    } else if (!places_[i].connection->Expire(now - options_.timeout)) {
      Reopen(i);
    }
  }
}

void LoadClient::Fill(size_t index) {
  Connection* const connection = places_[index].connection.get();
  if (connection == nullptr || !connection->HasRoom()) return;
  const TimePoint now = steady_clock::now();
  while (connection->HasRoom()) connection->Send(now, now);
  if (!connection->Flush()) Reopen(index);
}

void LoadClient::SendArrived(Arrivals& noticed, Arrivals& sent, TimePoint begin) {
  for (size_t i = 0; i < places_.size() && sent.passed() < noticed.passed(); ++i) {
    Connection* const connection = places_[i].connection.get();
    if (connection == nullptr || !connection->HasRoom()) continue;
    const TimePoint now = steady_clock::now();
    for (; connection->HasRoom() && sent.passed() < noticed.passed(); sent.Advance()) {
      connection->Send(begin + Seconds(sent.next()), now);
    }
    if (!connection->Flush()) Reopen(i);
  }
}

}  // namespace falaj::load

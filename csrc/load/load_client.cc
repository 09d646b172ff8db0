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

// Where no connection has been open for so long, the server is taken to be gone.
constexpr auto kGone = 3 * kPause;

Nanos Seconds(double seconds) { return Nanos(static_cast<int64_t>(seconds * 1e9)); }

Sequences::Outcome OutcomeOfHttp(int status) {
  using Outcome = Sequences::Outcome;
  if (status == 400 || status == 404) return Outcome::kUnknown;
  const bool was_run = status >= 500 && status != 503 && status != 504;
  return was_run ? Outcome::kFailed : Outcome::kRefused;
}

Sequences::Outcome OutcomeOfGrpc(int status) {
  using Outcome = Sequences::Outcome;
  switch (status) {
    case 3:  // INVALID_ARGUMENT
    case 5:  // NOT_FOUND
    case 9:  // FAILED_PRECONDITION
      return Outcome::kUnknown;
    case 4:   // DEADLINE_EXCEEDED
    case 7:   // PERMISSION_DENIED
    case 8:   // RESOURCE_EXHAUSTED
    case 12:  // UNIMPLEMENTED
    case 14:  // UNAVAILABLE
    case 16:  // UNAUTHENTICATED
      return Outcome::kRefused;
    default:
      return Outcome::kFailed;
  }
}

Sequences::Outcome OutcomeOf(const Answer& answer) {
  if (!answer.failure) return Sequences::Outcome::kAnswered;
  if (answer.failure->failure == Failure::kHttpStatus) return OutcomeOfHttp(answer.failure->code);
  if (answer.failure->failure == Failure::kGrpcStatus) return OutcomeOfGrpc(answer.failure->code);
  return Sequences::Outcome::kFailed;
}

}  // namespace

void Tally::Merge(const Tally& other) {
  latency.Merge(other.latency);
  late.Merge(other.late);
  errors.Merge(other.errors);
  answered += other.answered;
  reconnects += other.reconnects;
  sequences += other.sequences;
}

void Tally::Clear() {
  latency.Clear();
  late.Clear();
  errors.Clear();
  answered = reconnects = sequences = 0;
}

LoadClient::LoadClient(std::shared_ptr<const Target> target, ClientOptions options)
    : target_(std::move(target)), options_(std::move(options)), places_(options_.streams.size()) {
  if (options_.sequences) sequences_.emplace(*options_.sequences, options_.in_turn, options_.seed);
}

LoadClient::~LoadClient() = default;

bool LoadClient::IsOpen(const Place& place) {
  return place.connection != nullptr && place.connection->is_open();
}

Status LoadClient::Connect(TimePoint end) {
  if (!poller_.valid()) return Unavailable(std::string("cannot wait for sockets: ") + std::strerror(errno));
  for (size_t i = 0; i < places_.size(); ++i) Open(i);
  while (tally_.errors.total() == 0 && !std::all_of(places_.begin(), places_.end(), IsOpen)) {
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
  if (sequences_) return EndSequences(end);
  while (under_way() > 0 && steady_clock::now() < end) Turn(end, false);
}

void LoadClient::Take(Tally& into) {
  into.Clear();
  std::swap(into, tally_);
  if (sequences_) into.sequences = sequences_->TakeCompleted();
}

size_t LoadClient::under_way() const {
  size_t sum = 0;
  for (const Place& place : places_) sum += place.connection == nullptr ? 0 : place.connection->under_way();
  return sum;
}

size_t LoadClient::unanswered() const { return under_way() - (sequences_ ? sequences_->closing() : 0); }

void LoadClient::OnAnswer(const Answer& answer) {
  if (sequences_ && !sequences_->OnAnswer(answer.sequence, OutcomeOf(answer))) return;
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
  const size_t slot = options_.slots.empty() ? 0 : options_.slots[index];
  RequestSource requests(target_, options_.first_request + index, slot);
  place.connection =
      target_->options().protocol == Protocol::kHttp
          ? MakeHttpConnection(std::move(stream), std::move(requests), *this)
          : MakeGrpcConnection(std::move(stream), std::move(requests), options_.streams[index], *this);
}

void LoadClient::Reopen(size_t index) {
  Connection& connection = *places_[index].connection;
  const Connection::End& end = connection.end();
  const size_t lost = Lose(connection);
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

size_t LoadClient::Lose(const Connection& connection) {
  if (!sequences_) return connection.under_way();
  lost_.clear();
  connection.AddUnderWay(lost_);
  return static_cast<size_t>(std::count_if(lost_.begin(), lost_.end(), [&](size_t index) {
    return sequences_->OnAnswer(index, Sequences::Outcome::kFailed);
  }));
}

void LoadClient::EndSequences(TimePoint end) {
  sequences_->EndAll();
  TimePoint open = steady_clock::now();
  for (TimePoint now = open; now < end; now = steady_clock::now()) {
    if (std::any_of(places_.begin(), places_.end(), IsOpen)) {
      open = now;
    } else if (now - open > kGone) {
      return;
    }
    for (size_t i = 0; i < places_.size() && sequences_->HasFree(); ++i) Fill(i);
    if (under_way() == 0 && !sequences_->HasFree()) return;
    Turn(end, false);
  }
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
  if (connection == nullptr || !connection->HasRoom() || !HasNext()) return;
  const TimePoint now = steady_clock::now();
  while (connection->HasRoom() && HasNext()) connection->Send(now, now, NextMark());
  if (!connection->Flush()) Reopen(index);
}

void LoadClient::SendArrived(Arrivals& noticed, Arrivals& sent, TimePoint begin) {
  for (size_t i = 0; i < places_.size() && sent.passed() < noticed.passed() && HasNext(); ++i) {
    Connection* const connection = places_[i].connection.get();
    if (connection == nullptr || !connection->HasRoom()) continue;
    const TimePoint now = steady_clock::now();
    for (; connection->HasRoom() && sent.passed() < noticed.passed() && HasNext(); sent.Advance()) {
      connection->Send(begin + Seconds(sent.next()), now, NextMark());
    }
    if (!connection->Flush()) Reopen(i);
  }
}

}  // namespace falaj::load

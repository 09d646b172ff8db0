#include "wire/io_thread.h"

#include <pthread.h>

#include <algorithm>
#include <ctime>

#include "wire/connection.h"

namespace falaj::wire {
namespace {

// A turn's answers may let pipelined requests in; after so many rounds the sockets are looked at again.
constexpr int kRoundsPerTurn = 4;

}  // namespace

// Answers on their way back to the thread. Held by requests. Deliver is called by any thread, by this one too
// when it runs a batch itself, and then wakes nobody.
class IoThread::Sink final : public CompletionSink {
 public:
  explicit Sink(EventLoop& loop) : loop_(loop) {}
  void SetOwner(std::thread::id owner) { owner_ = owner; }

  void Deliver(std::span<Request* const> done) override {
    if (std::this_thread::get_id() == owner_) {
      TakeOthers(local_);
      local_.insert(local_.end(), done.begin(), done.end());
      return;
    }
    // Under the lock: the thread cannot have taken these, and ended, before it was woken.
    MutexLock lock(mu_);
    if (done_.empty()) loop_.Wake();
    done_.insert(done_.end(), done.begin(), done.end());
  }

  // Whether the owner delivered something to itself, for which nobody wakes it.
  bool has_local() const { return !local_.empty(); }

  // Moves what was delivered, one reference each, to the end of `taken`: in the order in which it was, so
  // that the answers of a sequence, and of a stream, keep theirs whichever threads gave them.
  void Take(std::vector<Request*>& taken) {
    taken.insert(taken.end(), local_.begin(), local_.end());
    local_.clear();
    TakeOthers(taken);
  }

 private:
  void TakeOthers(std::vector<Request*>& taken) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    taken.insert(taken.end(), done_.begin(), done_.end());
    done_.clear();
  }

  EventLoop& loop_;
  std::thread::id owner_;        // set before the first request
  std::vector<Request*> local_;  // the owner's: all that was delivered before its own last delivery
  Mutex mu_;
  std::vector<Request*> done_ GUARDED_BY(mu_);
};

IoThread::IoThread(size_t index, WireShared& shared)
    : index_(index),
      shared_(shared),
      http_codec_(shared.options.codec),
      grpc_codec_(shared.options.codec),
      tracer_(shared.tracing),
      own_sink_(std::make_shared<Sink>(loop_)),
      sink_(own_sink_) {}

IoThread::~IoThread() = default;

void IoThread::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "falaj-io");
    Run();
  });
}

void IoThread::Stop() {
  if (!thread_.joinable()) return;
  loop_.Post([this] {
    stopping_ = true;
    TellAll(&Connection::End);
  });
  thread_.join();
}

void IoThread::Run() {
  own_sink_->SetOwner(std::this_thread::get_id());
  while (!stopping_ || under_way_ > 0) {
    const bool idle = unflushed_.empty() && !own_sink_->has_local() && to_go_on_.empty();
    loop_.Turn(idle ? EventLoop::Wait::kYes : EventLoop::Wait::kNo);
    GoOn();
    EndTurn();
    now_is_read_ = false;
  }
  buried_.clear();
  DeliverAnswers();
}

void IoThread::GoOn() {
  going_on_.swap(to_go_on_);
  for (const auto& connection : going_on_) connection->GoOn();
  going_on_.clear();
}

TimePoint IoThread::Now() const {
  if (!now_is_read_) now_ = std::chrono::steady_clock::now();
  now_is_read_ = true;
  return now_;
}

void IoThread::EndTurn() {
  buried_.clear();  // what they asked is withdrawn before it is run for nobody
  for (int round = 0; round < kRoundsPerTurn; ++round) {
    for (const auto& batcher : std::exchange(unflushed_, {})) batcher->Flush(Batcher::RunHere::kIfShort);
    DeliverAnswers();
    if (round == 0) DeliverReplies();
    WriteAll();
    if (unflushed_.empty()) break;
  }
  buried_.clear();
}

void IoThread::WriteAll() {
  // What is written may let pipelined requests in, which may be answered at once and be written here too.
  for (size_t i = 0; i < to_write_.size(); ++i) {
    const std::shared_ptr<Connection> connection = std::move(to_write_[i]);
    connection->WriteNow();
  }
  to_write_.clear();
}

void IoThread::DeliverAnswers() {
  delivered_.clear();
  own_sink_->Take(delivered_);
  for (Request* const raw : delivered_) {
    RefPtr<Request> request(raw);
    raw->Unref();  // the sink's
    if (!request->is_part()) --under_way_;
    auto* const waiter = reinterpret_cast<InferWaiter*>(request->tag);
    waiter->OnDelivered(std::move(request));
  }
}

void IoThread::DeliverReplies() {
  replies_.clear();
  {
    MutexLock lock(mu_);
    replies_.swap(posted_);
  }
  for (ControlReply& reply : replies_) {
    const auto found = asked_.find(reply.id);
    if (found == asked_.end()) continue;  // its client has gone
    ControlWaiter* const waiter = found->second;
    if (reply.last) asked_.erase(found);
    waiter->OnReply(std::move(reply));
  }
}

void IoThread::FlushLater(Batcher& batcher) {
  ++under_way_;
  for (const auto& known : unflushed_) {
    if (known.get() == &batcher) return;
  }
  unflushed_.push_back(batcher.shared_from_this());
}

uint64_t IoThread::Ask(ControlRequest request, ControlWaiter* waiter) {
  const uint64_t id = shared_.control.Put(index_, std::move(request));
  if (id != 0) asked_.emplace(id, waiter);
  return id;
}

void IoThread::Forget(uint64_t id) {
  asked_.erase(id);
  shared_.control.PutGone(id);
}

void IoThread::Post(ControlReply reply) {
  MutexLock lock(mu_);
  if (posted_.empty()) loop_.Wake();
  posted_.push_back(std::move(reply));
}

void IoThread::Add(std::shared_ptr<Connection> connection) {
  if (!ticks_) TickLater();
  connections_.insert(std::move(connection));
}

void IoThread::Remove(const std::shared_ptr<Connection>& connection) { connections_.erase(connection); }

// While there are connections: an idle server does not wake up.
void IoThread::TickLater() {
  ticks_ = true;
  loop_.At(std::chrono::steady_clock::now() + Protocol::kTickInterval, [this] { Tick(); });
}

void IoThread::Tick() {
  ticks_ = !connections_.empty();
  if (!ticks_) return http_codec_.FreeMemory();
  http_codec_.Tick();
  TellAll(&Connection::Tick);
  TickLater();
}

void IoThread::AnnounceEnd() {
  loop_.Post([this] { TellAll(&Connection::EndAnnounced); });
}

void IoThread::DrainConnections() {
  loop_.Post([this] { TellAll(&Connection::Drain); });
}

// They may leave while they are told.
void IoThread::TellAll(void (Connection::*what)()) {
  const std::vector<std::shared_ptr<Connection>> all(connections_.begin(), connections_.end());
  for (const auto& connection : all) (connection.get()->*what)();
}

std::string_view IoThread::Date() {
  const int64_t second = std::time(nullptr);
  if (second != date_second_) {
    date_second_ = second;
    std::tm utc{};
    const std::time_t time = second;
    gmtime_r(&time, &utc);
    std::array<char, 64> text;
    date_.assign(text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc));
  }
  return date_;
}

}  // namespace falaj::wire

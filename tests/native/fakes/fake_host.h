// An I/O thread without a network: the test is the thread. Models are real batchers on the fake backend.
#pragma once

#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "fakes/model_fixture.h"
#include "wire/host.h"
#include "wire/protocol.h"

namespace falaj::test {

// Requests come back here from any thread; the host hands them on when the test says so.
class HostSink final : public CompletionSink {
 public:
  ~HostSink() override {
    for (Request* request : done_) request->Unref();
  }
  void Deliver(std::span<Request* const> done) override {
    MutexLock lock(mu_);
    done_.insert(done_.end(), done.begin(), done.end());
    changed_.NotifyAll();
  }
  // Waits for one that was delivered.
  RefPtr<Request> Next() {
    MutexLock lock(mu_);
    while (done_.empty()) changed_.Wait(mu_);
    return Pop();
  }
  RefPtr<Request> NextIfAny() {
    MutexLock lock(mu_);
    return done_.empty() ? RefPtr<Request>() : Pop();
  }

 private:
  RefPtr<Request> Pop() REQUIRES(mu_) {
    RefPtr<Request> request(done_.front());
    done_.front()->Unref();  // the sink's
    done_.pop_front();
    return request;
  }

  Mutex mu_;
  CondVar changed_;
  std::deque<Request*> done_ GUARDED_BY(mu_);
};

class FakeHost final : public wire::Host {
 public:
  // Serves one model, "m" version 3 (DefaultOptions), unless told otherwise.
  explicit FakeHost(wire::WireOptions options = {},
                    BatcherOptions model = DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})}))
      : shares_(options), options_(std::move(options)), model_(std::move(model)) {
    auto entries = std::make_shared<ModelEntries>();
    const BatcherOptions& told = model_.batcher->options();
    (*entries)[told.model] = {{{told.version, model_.batcher}}, model_.batcher, ""};
    models_.Publish(std::move(entries));
  }
  // Every waiter was called, or its test is wrong: a request that is still out would call a dead one.
  ~FakeHost() override {
    model_.script.OpenGate();
    EXPECT_TRUE(model_.batcher->Drain(model_.clock.Now() + std::chrono::seconds(30)));
    while (DeliverIfAny()) {
    }
  }

  TimePoint Now() const override { return model_.clock.Now() + offset_; }
  const wire::WireOptions& options() const override { return options_; }
  const ModelTable& models() const override { return models_; }
  wire::WireCounters& counters(wire::Wire wire) override { return counters_[static_cast<size_t>(wire)]; }
  wire::ClientShares& shares() override { return shares_; }
  Tracer& tracer() override { return tracer_; }
  Tracing& tracing() { return *tracing_; }
  bool draining() const override { return draining_; }
  const std::shared_ptr<CompletionSink>& sink() const override { return sink_; }
  void FlushLater(Batcher& batcher) override {
    ++under_way_;
    unflushed_.insert(&batcher);
  }
  uint64_t Ask(wire::ControlRequest request, wire::ControlWaiter* waiter) override {
    if (control_plane_gone_) return 0;
    asked_.emplace_back(++last_id_, std::move(request));
    waiting_[last_id_] = waiter;
    return last_id_;
  }
  void Forget(uint64_t id) override {
    waiting_.erase(id);
    forgotten_.push_back(id);
  }
  void Sent(uint64_t id, size_t bytes) override { sent_[id] += bytes; }
  std::string_view Date() override { return "Sun, 06 Nov 1994 08:49:37 GMT"; }
  void Log(wire::AccessRecord record) override { logged_.push_back(std::move(record)); }

  // --- The test's side.

  // Ends a turn of the loop: batches may start.
  void EndTurn() {
    for (Batcher* batcher : std::exchange(unflushed_, {})) batcher->Flush(Batcher::RunHere::kIfShort);
  }
  // Waits for `count` answers and hands them to their waiters.
  void Deliver(int count) {
    EndTurn();
    for (int i = 0; i < count; ++i) Hand(host_sink_->Next());
  }
  // Waits for all answers, those to requests that the answers let in too.
  void DeliverAll() {
    while (under_way_ > 0) Deliver(under_way_);
  }
  bool DeliverIfAny() {
    EndTurn();
    RefPtr<Request> request = host_sink_->NextIfAny();
    if (!request) return false;
    Hand(std::move(request));
    return true;
  }
  // Answers a request that was asked; false where its client has gone.
  bool Reply(wire::ControlReply reply) {
    const auto found = waiting_.find(reply.id);
    if (found == waiting_.end()) return false;
    wire::ControlWaiter* const waiter = found->second;
    if (reply.last) waiting_.erase(found);
    waiter->OnReply(std::move(reply));
    return true;
  }
  void Advance(Nanos time) { offset_ += time; }
  void StartDraining() { draining_ = true; }
  void LoseControlPlane() { control_plane_gone_ = true; }
  ModelFixture& model() { return model_; }
  std::vector<std::pair<uint64_t, wire::ControlRequest>>& asked() { return asked_; }
  const std::vector<uint64_t>& forgotten() const { return forgotten_; }
  size_t sent(uint64_t id) const { return sent_.contains(id) ? sent_.at(id) : 0; }
  const std::vector<wire::AccessRecord>& logged() const { return logged_; }
  // Begins anew with what is told by the four above.
  void ClearRecords() {
    asked_.clear();
    forgotten_.clear();
    sent_.clear();
    logged_.clear();
  }

 private:
  void Hand(RefPtr<Request> request) {
    --under_way_;
    auto* const waiter = reinterpret_cast<wire::InferWaiter*>(request->tag);
    waiter->OnDelivered(std::move(request));
  }

  const std::shared_ptr<HostSink> host_sink_ = std::make_shared<HostSink>();
  const std::shared_ptr<CompletionSink> sink_ = host_sink_;
  wire::ClientShares shares_;
  wire::WireOptions options_;
  ModelFixture model_;
  ModelTable models_;
  std::array<wire::WireCounters, wire::kWires> counters_;
  const std::shared_ptr<Tracing> tracing_ = std::make_shared<Tracing>();
  Tracer tracer_{tracing_};
  std::set<Batcher*> unflushed_;
  std::map<uint64_t, wire::ControlWaiter*> waiting_;
  std::vector<std::pair<uint64_t, wire::ControlRequest>> asked_;
  std::vector<uint64_t> forgotten_;
  std::map<uint64_t, size_t> sent_;
  std::vector<wire::AccessRecord> logged_;
  uint64_t last_id_ = 0;
  int under_way_ = 0;  // enqueued and not handed on
  Nanos offset_{0};
  bool draining_ = false;
  bool control_plane_gone_ = false;
};

// A connection without a socket: counts what its protocol asks for.
class FakeCarrier final : public wire::Carrier {
 public:
  void OutputReady() override { ++output_ready; }
  void InputWanted() override { ++input_wanted; }
  int output_ready = 0;
  int input_wanted = 0;
};

// Hands `bytes` to the protocol in pieces of at most `piece`; returns how many it took.
inline size_t Feed(wire::Protocol& protocol, std::string_view bytes, size_t piece = SIZE_MAX) {
  size_t taken = 0;
  while (taken < bytes.size() && protocol.WantsInput() && !protocol.Finished()) {
    const std::span<std::byte> room = protocol.InputRoom();
    const size_t count = std::min({room.size(), piece, bytes.size() - taken});
    std::memcpy(room.data(), bytes.data() + taken, count);
    taken += count;
    protocol.Received(count);
  }
  return taken;
}

// Everything that the protocol has to write now, taken in writes of at most `piece`.
inline std::string Drain(wire::Protocol& protocol, size_t piece = SIZE_MAX) {
  std::string out;
  while (true) {
    std::array<iovec, 16> pieces;
    const size_t count = protocol.Output(pieces);
    if (count == 0) return out;
    size_t wrote = 0;
    for (size_t i = 0; i < count && wrote < piece; ++i) {
      const size_t bytes = std::min(pieces[i].iov_len, piece - wrote);
      out.append(static_cast<const char*>(pieces[i].iov_base), bytes);
      wrote += bytes;
    }
    protocol.Wrote(wrote);
  }
}

}  // namespace falaj::test

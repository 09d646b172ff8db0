// One I/O thread: its event loop, its connections, and what protocols ask of it.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "wire/control_queue.h"
#include "wire/event_loop.h"
#include "wire/grpc_infer.h"
#include "wire/host.h"
#include "wire/http_infer.h"
#include "wire/protocol.h"

namespace falaj::wire {

class Connection;

// What all I/O threads of a server share. Outlives them.
struct WireShared {
  WireShared(WireOptions from, const ModelTable& table, std::shared_ptr<Tracing> traces)
      : options(std::move(from)),
        models(table),
        tracing(std::move(traces)),
        shares(options),
        control(static_cast<size_t>(options.max_requests_in_flight), 4096) {}
  const WireOptions options;
  const ModelTable& models;
  const std::shared_ptr<Tracing> tracing;  // the engine's
  ClientShares shares;
  ControlQueue control;
  std::atomic<bool> draining{false};  // published by WireServer, read by every thread
};

// A turn of the loop: the sockets that are ready are read and what they bring is enqueued; then each model
// that got something is flushed, once, and may run its batch on this very thread where it is short; then
// answers are written. So requests of many connections become one batch, and short work meets no other
// thread. Everything but Post, Start, Stop and the counters is for the thread itself.
class IoThread final : public Host {
 public:
  IoThread(size_t index, WireShared& shared);
  // REQUIRES: Stop was called, if Start was.
  ~IoThread() override;

  void Start();
  // Ends the connections (what they asked is cancelled) and the thread. Idempotent.
  void Stop();

  EventLoop& loop() { return loop_; }
  HttpCodec& http_codec() { return http_codec_; }
  GrpcCodec& grpc_codec() { return grpc_codec_; }
  // Keeps it until it ends, ticks it, drains it and ends it.
  void Add(std::shared_ptr<Connection> connection);
  void Remove(const std::shared_ptr<Connection>& connection);
  // Calls its WriteNow before this turn ends.
  void WriteLater(std::shared_ptr<Connection> connection) { to_write_.push_back(std::move(connection)); }
  // Calls its GoOn in the next turn.
  void GoOnLater(std::shared_ptr<Connection> connection) { to_go_on_.push_back(std::move(connection)); }
  // Destroys it in this turn, but not at once: it may be what is calling. Until then its `carrier` is kept,
  // which it may call when it is handed an answer.
  void Bury(std::shared_ptr<Connection> carrier, std::unique_ptr<Protocol> protocol) {
    buried_.push_back({std::move(carrier), std::move(protocol)});
  }
  // Thread-safe: the reply goes to whoever asked, if its client is still there.
  void Post(ControlReply reply) EXCLUDES(mu_);
  // Thread-safe: those that are there now are told; later ones have been told nothing else.
  void AnnounceEnd();
  // Thread-safe: every connection of this thread finishes what it has and closes.
  void DrainConnections();
  const WireCounters& counters_of(Wire wire) const { return counters_[static_cast<size_t>(wire)]; }

  // Host
  TimePoint Now() const override;
  const WireOptions& options() const override { return shared_.options; }
  const ModelTable& models() const override { return shared_.models; }
  WireCounters& counters(Wire wire) override { return counters_[static_cast<size_t>(wire)]; }
  ClientShares& shares() override { return shared_.shares; }
  Tracer& tracer() override { return tracer_; }
  bool draining() const override { return shared_.draining.load(std::memory_order_relaxed); }
  const std::shared_ptr<CompletionSink>& sink() const override { return sink_; }
  void FlushLater(Batcher& batcher) override;
  uint64_t Ask(ControlRequest request, ControlWaiter* waiter) override;
  void Forget(uint64_t id) override;
  void Log(AccessRecord record) override { shared_.control.PutRecord(std::move(record)); }
  void Sent(uint64_t id, size_t bytes) override { shared_.control.Sent(id, bytes); }
  std::string_view Date() override;

 private:
  class Sink;
  struct Buried {
    std::shared_ptr<Connection> carrier;
    std::unique_ptr<Protocol> protocol;  // destroyed first
  };

  void Run();
  void GoOn();
  void EndTurn();
  void DeliverAnswers();
  void WriteAll();
  void DeliverReplies() EXCLUDES(mu_);
  void TickLater();
  void Tick();
  void TellAll(void (Connection::*what)());

  const size_t index_;
  WireShared& shared_;
  EventLoop loop_;
  bool ticks_ = false;
  HttpCodec http_codec_;
  GrpcCodec grpc_codec_;
  std::array<WireCounters, kWires> counters_;
  Tracer tracer_;
  std::shared_ptr<Sink> own_sink_;
  std::shared_ptr<CompletionSink> sink_;

  mutable TimePoint now_{};  // of this turn, read when somebody first asks
  mutable bool now_is_read_ = false;
  std::vector<std::shared_ptr<Batcher>> unflushed_;
  int64_t under_way_ = 0;  // enqueued and not yet delivered here
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  std::unordered_map<uint64_t, ControlWaiter*> asked_;
  std::vector<std::shared_ptr<Connection>> to_write_, to_go_on_, going_on_;
  std::vector<Buried> buried_;
  std::vector<Request*> delivered_;
  std::vector<ControlReply> replies_;
  std::string date_;
  int64_t date_second_ = -1;
  bool stopping_ = false;
  std::thread thread_;

  Mutex mu_;
  std::vector<ControlReply> posted_ GUARDED_BY(mu_);
};

}  // namespace falaj::wire

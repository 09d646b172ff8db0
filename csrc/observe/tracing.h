// The traces of one engine: who is sampled, and the records on their way to the exporter.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "observe/counter.h"
#include "observe/otlp_spans.h"
#include "observe/random_ids.h"
#include "observe/trace_ring.h"
#include "observe/trace_rules.h"

namespace falaj {

class Tracer;

// Off until rules are published that sample something, which costs each request the read of one flag.
// Thread-safe. I/O threads write through a Tracer of their own; one thread takes.
// 1. A record is exported once or counted as dropped.
// 2. Memory is bounded: a ring for each thread that sampled something; what does not fit is dropped.
// mu_ is a leaf; taking_ is taken before it, by whoever takes, and held while spans are encoded.
class Tracing {
 public:
  Tracing() = default;
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;

  // Effective at once.
  void Publish(const TraceRuleSpecs& specs) EXCLUDES(mu_);
  // Of each rule how many may still be traced (negative: no end); "" is that of all models.
  std::map<std::string, int64_t> Left() const EXCLUDES(mu_);
  // Where the server is, as its spans tell it.
  void Describe(TraceServer server) EXCLUDES(mu_);

  bool on() const { return on_.load(std::memory_order_relaxed); }

  // --- For what is no I/O thread's, such as the steps of a pipeline: from any thread.
  // The context of a part of `parent`, which is sampled: the span of its record, and its requests' trace.
  TraceContext Child(const TraceContext& parent) EXCLUDES(shared_mu_);
  // Of that part; its times and status are set. Dropped where full.
  void Record(const TraceRecord& record) EXCLUDES(shared_mu_, mu_);

  struct Taken {
    size_t requests = 0;
    bool more = false;  // there was no room for all
  };
  // Waits until a ring is half full, Wake or Stop was called, or `timeout`; appends what there is to `spans`
  // as `repeated opentelemetry.proto.trace.v1.Span spans = 2` of ScopeSpans, until it has `most_bytes`, and
  // perhaps the spans of one request more.
  Taken Take(Nanos timeout, size_t most_bytes, std::string& spans) EXCLUDES(mu_, taking_);
  // Has the present Take, or the next one, return at once.
  void Wake() EXCLUDES(mu_);

  struct Counts {
    uint64_t recorded = 0;  // requests that were sampled, those dropped included
    uint64_t dropped = 0;   // of them, because their ring was full
  };
  Counts counts() const EXCLUDES(mu_);

 private:
  friend class Tracer;
  // A thread's: shared with its Tracer, and dropped when that is gone and all was taken.
  struct Lane {
    TraceRing ring;
    Counter recorded, dropped;  // the writer's
  };

  void AddLane(std::shared_ptr<Lane> lane) EXCLUDES(mu_);
  // Counted in full by `lane`'s writer; wakes the taker when half is full.
  void Put(Lane& lane, const TraceRecord& record) EXCLUDES(mu_);
  void WaitForRecords(Nanos timeout) EXCLUDES(mu_);
  void DropEnded() REQUIRES(mu_);

  std::atomic<bool> on_{false};          // published with rules_, which a reader of true may not see yet
  std::atomic<uint64_t> generation_{0};  // of rules_; a Tracer that has read another reads them again

  mutable Mutex taking_;  // before mu_
  RandomIds ids_ GUARDED_BY(taking_);
  SpanEncoder encoder_ GUARDED_BY(taking_);

  mutable Mutex mu_;
  CondVar wake_up_;
  bool woken_ GUARDED_BY(mu_) = false;
  std::shared_ptr<const TraceRules> rules_ GUARDED_BY(mu_) = std::make_shared<const TraceRules>();
  TraceServer server_ GUARDED_BY(mu_);
  std::vector<std::shared_ptr<Lane>> lanes_ GUARDED_BY(mu_);
  Counts gone_ GUARDED_BY(mu_);  // of lanes that are no more

  Mutex shared_mu_;  // of the lane of all other threads; a leaf but for mu_, which Put may take
  std::shared_ptr<Lane> shared_lane_ GUARDED_BY(shared_mu_);
  RandomIds shared_ids_ GUARDED_BY(shared_mu_);
};

}  // namespace falaj

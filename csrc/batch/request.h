// One inference from the moment it is admitted until its answer has been read.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "batch/part_stream.h"
#include "batch/slab.h"
#include "core/ref_counted.h"
#include "core/request_features.h"
#include "core/request_sequence.h"
#include "core/status.h"
#include "core/tensor.h"
#include "core/trace_context.h"

namespace falaj {

class Batcher;
class FlowRun;
class Request;
struct Flight;
struct LiveSequence;

// Where answers go. One sink serves many requests; it is called from whichever thread finished them
// (an executor, the timer, a canceller, or the submitter itself), with no lock held.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  // Each request is handed over exactly once in its life, all of one batch and sink in one call, so that a
  // sink wakes its thread once a batch. The sink takes over one reference of each (Unref when read).
  // Must not block and must not destroy the batcher.
  virtual void Deliver(std::span<Request* const> done) = 0;
};

// Life: made by Batcher::NewRequest (kPreparing) -> Reserve or Attach -> Enqueue (kPending) -> delivered to
// its sink exactly once (kFinished) -> last Unref returns it to the batcher's pool. Owned by the submitting
// thread until Enqueue, by the batcher until delivery, by the sink's reader after.
class Request : public RefCounted<Request> {
 public:
  // Set by the submitter before Enqueue.
  std::shared_ptr<CompletionSink> sink;
  uint64_t tag = 0;                       // the submitter's own; not looked at
  int priority = 0;                       // 1 is highest; 0 the model's default level
  TimePoint deadline = TimePoint::max();  // set before Reserve or Attach
  TimePoint arrived{};                    // set by Reserve and Attach
  RequestFeatures features;               // of a model that looks features up
  RequestSequence sequence;               // of a stateful model
  bool use_cache = true;                  // false: is run, and neither looked up nor kept
  TraceContext trace;
  // Where the answer's tensors are wanted, in the signature's order; an empty one, or none at all: nowhere. A
  // batch of this request alone may have the backend write there, and its outputs then view that memory; else
  // it is for the reader to copy them. `places_owner` keeps the memory, which lives as long as the request.
  std::vector<std::span<std::byte>> output_places;
  std::shared_ptr<void> places_owner;
  // Its answer has a way to go where it may still fail: whether it was answered well is for its reader to
  // tell (Batcher::CountAnswer), and counted then. Of no part of a decoupled model's answers.
  bool reader_counts = false;

  // After Reserve: writable views to fill. Nothing may block between Reserve and Enqueue.
  std::span<TensorView> inputs() { return inputs_; }
  // After Reserve: room for the characters of BYTES elements, as many bytes as were asked for.
  std::byte* payload() { return payload_; }

  // After delivery, until the last Unref. Empty where the status is not OK. In the signature's order.
  const Status& status() const { return status_; }
  std::span<const TensorView> outputs() const { return outputs_; }
  TimePoint started() const { return started_; }  // its batch began to be assembled
  TimePoint finished() const { return finished_; }
  bool features_stale() const { return features_stale_; }
  // One of the answers of a model that gives several. They are delivered before the request itself, which
  // then has no outputs; the model waits until they are dropped.
  bool is_part() const { return static_cast<bool>(whole_); }
  int64_t rows() const { return rows_; }
  int64_t batch_rows() const { return batch_rows_; }  // of the batch that it ran in; 0: it did not
  Batcher& batcher() const { return *batcher_; }

  // Of a request whose status is OK: lets go of what kept its attached inputs, which its batch has read.
  std::shared_ptr<void> TakeKeepAlive() { return std::move(keep_alive_); }

  void OnLastUnref();

 private:
  friend class Batcher;
  friend class BatchAssembly;
  friend class DeadlineTimer;
  friend class FlightBook;
  friend class PartStream;
  friend class RequestQueue;

  enum class State : uint8_t { kPreparing, kPending, kFinished };

  // True for exactly one caller: the one that delivers it. Publishes the pending request's fields to that
  // caller (acquire), and the winner's claim to the others.
  bool Claim() {
    State expected = State::kPending;
    return state_.compare_exchange_strong(expected, State::kFinished, std::memory_order_acq_rel);
  }

  // part_stream.cc
  RefPtr<Request> MakePart(std::span<const TensorView> outputs, std::vector<std::shared_ptr<void>> owners);
  void BeginPartOf(Request* whole);

  std::atomic<State> state_{State::kPreparing};
  std::shared_ptr<Batcher> batcher_;  // keeps the pools alive for as long as the request is

  // Owned as the class comment says.
  int64_t rows_ = 0;
  uint64_t signature_ = 0;
  size_t level_ = 0;
  Nanos promised_{0};      // time within which admission expected the answer, where slo_ms asks for that
  bool admitted_ = false;  // counted as in flight; of a model without a cache, in the queue's rows too
  bool keyed_ = false;     // its answer may be kept and shared; written before it is queued
  std::vector<TensorView> inputs_;
  std::vector<TensorView> outputs_;
  RefPtr<Slab> slab_;  // inputs until the batch ran, then outputs
  int64_t slab_row_ = -1;
  Buffer own_;  // inputs that live in no slab
  std::byte* payload_ = nullptr;
  std::shared_ptr<void> keep_alive_;                      // of attached memory
  std::vector<std::shared_ptr<const void>> own_outputs_;  // outputs cut out of padding, or kept
  std::shared_ptr<LiveSequence> live_;  // its sequence, of a stateful model; from its admission on
  // Of a model that has a flow: from its start until it is withdrawn or fails. Where it is answered it owns
  // the outputs. Written under the batcher's mutex, and by whoever claimed the request.
  std::shared_ptr<FlowRun> run_;
  std::unique_ptr<PartStream> parts_;  // of a model that answers several times
  RefPtr<Request> whole_;              // of a part
  Status status_;
  bool features_stale_ = false;
  int64_t batch_rows_ = 0;
  TimePoint started_{};
  TimePoint finished_{};
  Nanos queue_time_{0}, assemble_time_{0}, run_time_{0};  // where reader_counts: of an answer that was run

  // Guarded by the batcher's mutex.
  bool queued_ = false;
  bool waits_for_turn_ = false;  // in its sequence
  Flight* flight_ = nullptr;     // that it leads or waits for
  Request* prev_ = nullptr;
  Request* next_ = nullptr;

  // Guarded by the timer's mutex: position in its heap, or -1.
  int64_t timer_index_ = -1;
};

}  // namespace falaj

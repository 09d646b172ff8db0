// One loaded model version: admits requests, forms batches of them, has them run, delivers the answers.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "batch/assembly.h"
#include "batch/batcher_options.h"
#include "batch/cost_curve.h"
#include "batch/deadline_timer.h"
#include "batch/executor_pool.h"
#include "batch/flight_book.h"
#include "batch/flow.h"
#include "batch/request.h"
#include "batch/request_queue.h"
#include "batch/response_cache.h"
#include "batch/slab.h"
#include "core/clock.h"
#include "observe/model_stats.h"

namespace falaj {

// Thread-safe, unless a comment says otherwise. Invariants:
// 1. Every enqueued request is delivered to its sink exactly once: with its answer, its batch's error (after
//    having been tried alone), or because it was cancelled, expired or refused at closing.
// 2. At most `instances` batches run at a time, not counting short ones on their submitters; no batch of
//    several requests has more than max_batch_rows rows (a model that cannot batch: no batch has more than
//    one request).
// 3. Waiting rows never pass max_queue_rows, unless one request alone has more.
// 4. Within a priority level, requests of one shape start in order of arrival, and the oldest request of the
//    highest level is always in the next batch.
// 5. Withdrawing a request (cancel, deadline) changes nothing for the others of its batch.
// 6. An idle instance takes what waits; nothing is delayed in the hope of more.
// 7. Of one sequence of a stateful model at most one request is queued or running; see SequenceBook.
// 8. Of a model with a cache, equal requests share a run: while one is queued or runs, the others wait
//    for its answer (FlightBook); what is withdrawn or fails leaves the run to the next of them.
// 9. A decoupled model runs one request in a batch, and its answers are delivered before the request itself
//    (PartStream).
// After warm-up the path of a request whose rows fit a slab allocates no memory.
// Lock order: a request's PartStream, mu_, then the mutexes of pool, timer and slabs. No lock is held while a
// batch runs, while a sink is called, or while memory is copied.
class Batcher final : public PoolClient, public std::enable_shared_from_this<Batcher> {
 public:
  // Takes its instances from `backend`. `pool`, `timer` and `clock` outlive it.
  static Result<std::shared_ptr<Batcher>> Make(BatcherOptions options, std::unique_ptr<Backend> backend,
                                               ExecutorPool* pool, DeadlineTimer* timer, Clock* clock);
  // A model that has a flow in place of a backend (flow_requests.cc): it has no instances, and what is
  // flushed is started one by one. max_queue_rows bounds what is under way too.
  static Result<std::shared_ptr<Batcher>> MakeFlow(BatcherOptions options, std::shared_ptr<Flow> flow,
                                                   ExecutorPool* pool, DeadlineTimer* timer, Clock* clock);
  // REQUIRES: Close() was called.
  ~Batcher() override;

  const BatcherOptions& options() const { return options_; }
  const ModelSignature& signature() const { return options_.signature; }
  std::string Placement() const { return placement_; }
  std::string Name() const;  // for messages: "model 'm' version 3"
  bool caches() const { return options_.cache.max_bytes > 0; }
  bool has_flow() const { return flow_ != nullptr; }
  size_t required_inputs() const { return required_inputs_; }  // those before the optional ones

  // --- Submitting. All calls for one request come from one thread at a time.

  RefPtr<Request> NewRequest() EXCLUDES(mu_);

  // Admits a request of the given shapes (one per public input, or per required one where no optional one is
  // there: most requests bring none of many) and gives it memory to fill: rows of an open
  // batch where they fit, its own otherwise, and `payload_bytes` for the characters of BYTES elements.
  // Fails with InvalidInput (shapes), Unavailable (queue full, shed, closed) or DeadlineExceeded, and the
  // request may then only be dropped.
  Status Reserve(Request& request, std::span<const Shape> shapes, size_t payload_bytes = 0) EXCLUDES(mu_);

  // The same for tensors that lie ready elsewhere: nothing is copied unless the batch needs it. The memory
  // stays valid and unchanged until `keep_alive` is dropped, which may be after delivery (a cancelled
  // request's batch runs on) and on any thread.
  Status Attach(Request& request, std::span<const TensorView> views, std::shared_ptr<void> keep_alive)
      EXCLUDES(mu_);

  enum class Deadline {
    kByTimer,      // the timer ends the request
    kBySubmitter,  // the submitter waits with a timeout of its own and calls Expire
  };
  // Queues an admitted, filled request. Takes a reference. Wakes nobody: Flush follows. Of a model with a
  // cache it may be delivered before this returns, with a kept answer or because there is no room for it.
  void Enqueue(Request* request, Deadline deadline = Deadline::kByTimer) EXCLUDES(mu_);

  enum class RunHere {
    kNever,    // executors run it: the caller has other work, or a deadline to watch
    kIfShort,  // this thread may run one batch itself if an instance is idle and the work is short
  };
  // Has what is queued run. Call once after a burst of Enqueue.
  void Flush(RunHere run_here) EXCLUDES(mu_);

  // Enqueue and Flush in one step, for a thread with one request: no other can come between and make it wait.
  void Submit(Request* request, Deadline deadline, RunHere run_here) EXCLUDES(mu_);

  // Withdraws a request; does nothing if it was delivered. Delivers it (Cancelled / DeadlineExceeded) on the
  // calling thread otherwise, queued or running.
  void Cancel(Request* request) EXCLUDES(mu_);
  void Expire(Request* request) EXCLUDES(mu_);

  // Counts a delivered request with `reader_counts`, whose status is OK, as answered or as failed; once. One
  // of which its reader tells nothing is counted as answered when it is dropped.
  void CountAnswer(Request& request, bool answered) EXCLUDES(mu_);

  // --- For its flow.

  // Claims a request that the flow has answered, or failed to. False where it was withdrawn: nothing is to be
  // done for it. Else DeliverFlow follows, and the request holds its run, which owns the outputs' memory,
  // where `status` is OK, and has let go of it where it is not. REQUIRES: the caller holds the run
  bool FinishFlow(Request& request, Status status, std::span<const TensorView> outputs, bool features_stale);
  // Hands finished requests to their sinks, those of one sink in one call, with one reference each.
  void DeliverFlow(std::span<Request* const> finished) EXCLUDES(mu_);

  // --- Lifetime.

  // A pin keeps Drain from returning: whoever found this version in the table holds one until its request is
  // enqueued, so that a version being replaced still answers those who had found it.
  void Pin() { pins_.fetch_add(1); }
  void Unpin() EXCLUDES(mu_);
  // Waits until nothing is pinned, queued or running, or `until`. Returns whether that came true.
  bool Drain(TimePoint until) EXCLUDES(mu_);
  // Waits until nothing is pinned and no sequence is live, or `until`. Returns whether that came true.
  bool WaitForSequences(TimePoint until) EXCLUDES(mu_);
  // Ends queued requests with Unavailable, waits for running ones, frees the instances and the backend.
  // Not from an executor or a sink. Idempotent.
  void Close() EXCLUDES(mu_);

  // --- Observing.

  // Whether a sequence of that id is under way.
  bool HoldsSequence(const SequenceId& id) const EXCLUDES(mu_);

  ModelStats Stats() const EXCLUDES(mu_);
  Nanos EstimatedCost(int64_t rows) const EXCLUDES(mu_);
  // Adds what was measured outside of traffic (warm-up, trials) to the cost curve.
  void Learn(int64_t rows, Nanos time) EXCLUDES(mu_);
  // Runs one batch of the given public inputs on the first `instances` of them, `times` times, and learns its
  // cost. REQUIRES: before traffic.
  Status WarmUp(std::span<const TensorView> inputs, int times, int instances);

  void RunOne() override EXCLUDES(mu_);

 private:
  friend class Request;

  using LiveSequences = std::vector<std::shared_ptr<LiveSequence>>;  // of requests that were run together

  // One of the model's instances and the scratch of the batch it runs. Owned by the thread that runs it.
  struct Lane {
    Lane(const BatcherOptions* options, bool is_guest);
    const bool guest;
    std::unique_ptr<Instance> instance;
    std::vector<Request*> members;   // one reference each
    std::vector<Request*> answered;  // of members: those this batch delivers
    std::vector<Request*> delivery;
    LiveSequences sequences;        // of members
    std::vector<Request*> dropped;  // withdrawn before this batch could answer them
    BatchAssembly assembly;
    bool on_submitter = false;
    TimePoint started{};
    Nanos expected{0};
    Nanos assemble_time{0};  // of the last run
    Nanos run_time{0};
    uint64_t rows = 0;          // of the last run
    uint64_t succeeded = 0;     // requests of this batch that were answered
    int64_t learned_rows = -1;  // of the run, for the cost curve; -1: it failed
    Nanos learned_time{0};
    int64_t kept = 0;  // promises of this batch's requests
    int64_t broken = 0;
    InstanceCounters counters;
    BatchSizes sizes;
    Counter last_answer;  // the clock's nanoseconds; 0: none yet
  };

  Batcher(BatcherOptions options, std::unique_ptr<Backend> backend, std::shared_ptr<Flow> flow,
          SlabLayout layout, ExecutorPool* pool, DeadlineTimer* timer, Clock* clock);
  Result<std::unique_ptr<Lane>> NewLane(bool guest);
  Status MakeLanes();
  Status MakeInputHash();

  // admission.cc
  Status CheckShapes(Request& request, std::span<const Shape> shapes) const;
  Status Admit(Request& request) REQUIRES(mu_);
  Status CheckRoom(const Request& request) REQUIRES(mu_);
  Status AdmitToQueue(Request& request) REQUIRES(mu_);
  Status CountInvalid(Status status) EXCLUDES(mu_);
  Status Place(Request& request, std::span<const Shape> shapes, size_t payload_bytes) EXCLUDES(mu_);
  Nanos UntilInstance(TimePoint now, int64_t nth) const REQUIRES(mu_);

  // batcher.cc
  Lane* TakeBatch(std::vector<Lane*>& idle, bool only_if_short) REQUIRES(mu_);
  void Pend(Request* request, Deadline deadline) REQUIRES(mu_);
  void Queue(Request* request, Deadline deadline) REQUIRES(mu_);
  Lane* TakeOnSubmitter(RunHere run_here) REQUIRES(mu_);
  Lane* TakeAsGuest() REQUIRES(mu_);
  Status MakeGuest() REQUIRES(mu_);
  bool AllIdle() const REQUIRES(mu_);
  int WantedBatches() const REQUIRES(mu_);
  void OfferMore() REQUIRES(mu_);
  void RunLane(Lane& lane) EXCLUDES(mu_);
  Status RunMembers(Lane& lane, std::span<Request* const> members);
  void Recycle(Request* request) EXCLUDES(mu_);

  // batcher_sequences.cc
  Status CheckSequence(const Request& request) const;
  Status JoinSequence(Request& request) REQUIRES(mu_);
  void QueueTurns() REQUIRES(mu_);
  void LeaveSequence(LiveSequence& sequence, SequenceBook::Left left) REQUIRES(mu_);
  void EndSequences(LiveSequences& sequences) REQUIRES(mu_);
  void LeaveSequences(LiveSequences& sequences) REQUIRES(mu_);
  void EndIdleSequences() EXCLUDES(mu_);  // on sequence_thread_
  // caching.cc
  bool QueueUnlessKept(Request* request, Deadline deadline) EXCLUDES(mu_);
  Status QueueOrJoin(Request* request, const std::optional<Digest>& digest, Deadline deadline) REQUIRES(mu_);
  void TakeBackRows(const Request& request) REQUIRES(mu_);
  void DeliverAtOnce(Request* request, Status status, TimePoint now);
  bool LeaveFlight(Request* request, bool was_queued) REQUIRES(mu_);
  void PassOn(Flight& flight) REQUIRES(mu_);
  void FailFlight(Flight& flight) REQUIRES(mu_);
  Request* TakeWaiting(Lane& lane, Flight& flight) REQUIRES(mu_);
  Request* Successor(Lane& lane, Request* withdrawn, bool succeeded) EXCLUDES(mu_);
  void FinishFlight(Lane& lane, Request& leader, TimePoint now) EXCLUDES(mu_);

  // delivery.cc
  void Answer(Lane& lane, std::span<Request* const> members, const Status& status);
  void Deliver(Lane& lane) EXCLUDES(mu_);
  void Withdraw(Request* request, Status status, uint64_t AdmissionCounters::*counter) EXCLUDES(mu_);
  void NoteLongRun(TimePoint now, Nanos took) REQUIRES(mu_);
  void FinishInflight(int64_t requests) REQUIRES(mu_);
  void EndStreaming(Request* request) EXCLUDES(mu_);

  // flow_requests.cc
  void StartFlow(RunHere run_here) EXCLUDES(mu_);
  void CountFlow(Request& request, Nanos delivered) REQUIRES(mu_);

  // batcher_stats.cc
  Nanos OldestBatch(TimePoint now) const REQUIRES(mu_);

  // Constant after construction.
  const BatcherOptions options_;
  const std::string placement_;
  ExecutorPool* const pool_;
  DeadlineTimer* const timer_;
  Clock* const clock_;
  const bool in_place_;  // requests' rows live in slabs
  const size_t required_inputs_;
  const std::vector<int> padded_axes_;  // of the public inputs; -1: none
  SlabPool slabs_;
  std::unique_ptr<const InputHash> input_hash_;  // of a model with a cache; set by Make

  // Freed by Close, when nothing runs any more.
  std::shared_ptr<Backend> backend_;          // shared with a Stats that is looking
  std::vector<std::unique_ptr<Lane>> lanes_;  // `instances` of them, for executors and submitters
  // Null but for a model that has one; constant. Its one lane has no instance and counts, guarded by mu_.
  const std::shared_ptr<Flow> flow_;

  std::atomic<int64_t> pins_{0};
  std::atomic<bool> draining_{false};

  mutable Mutex mu_;
  CondVar idle_;           // pins, inflight requests, running batches or live sequences reached zero
  CondVar sequence_time_;  // closed_
  RequestQueue queue_ GUARDED_BY(mu_);
  std::vector<Lane*> free_lanes_ GUARDED_BY(mu_);
  // For submitters whose short work would wait only because the threads that hold the lanes are not running
  // at the moment: many blocking threads then run their own requests instead of waking each other. All but
  // the first are made when first needed, kMaxGuests at most.
  std::vector<std::unique_ptr<Lane>> guests_ GUARDED_BY(mu_);
  std::vector<Lane*> free_guests_ GUARDED_BY(mu_);
  RefPtr<Slab> open_slab_ GUARDED_BY(mu_);
  CostCurve curve_ GUARDED_BY(mu_);
  TimePoint executors_until_ GUARDED_BY(mu_){};  // no work on submitters before this
  TimePoint suspect_until_ GUARDED_BY(mu_){};    // a run on a submitter was long; another one is too many
  Promise promise_ GUARDED_BY(mu_);
  AdmissionCounters admission_ GUARDED_BY(mu_);
  int64_t admitted_rows_ GUARDED_BY(mu_) = 0;        // reserved or queued, not yet taken
  int64_t inflight_ GUARDED_BY(mu_) = 0;             // admitted, not yet delivered
  std::vector<Request*> streaming_ GUARDED_BY(mu_);  // running, of a decoupled model
  int offered_ GUARDED_BY(mu_) = 0;                  // batches offered to the pool and not yet begun
  bool closed_ GUARDED_BY(mu_) = false;
  ResponseCache cache_ GUARDED_BY(mu_);
  FlightBook flights_ GUARDED_BY(mu_);
  CacheCounters cached_ GUARDED_BY(mu_);
  // Of answers that no lane counts: those that were kept, and those that their readers count.
  const std::unique_ptr<InstanceCounters> laneless_counters_;  // written under mu_
  TimePoint last_laneless_ GUARDED_BY(mu_){};                  // one of them was given
  std::vector<Request*> free_requests_ GUARDED_BY(mu_);        // owned here
  size_t pooled_bytes_ GUARDED_BY(mu_) = 0;                    // own memory of free_requests_
  std::vector<Waiting> view_ GUARDED_BY(mu_);
  std::vector<Request*> view_requests_ GUARDED_BY(mu_);
  std::vector<uint32_t> picks_ GUARDED_BY(mu_);
  const std::unique_ptr<SequenceBook> book_ PT_GUARDED_BY(mu_);  // of a stateful model
  std::vector<Request*> turns_ GUARDED_BY(mu_);                  // scratch of QueueTurns
  std::thread sequence_thread_;  // ends what is idle, of a stateful model; until Close
};

}  // namespace falaj

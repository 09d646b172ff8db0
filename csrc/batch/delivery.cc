// The last part of Batcher: answers on their way to those who asked, and requests that are withdrawn.
#include <algorithm>

#include "batch/batcher.h"
#include "batch/flush_scope.h"

namespace falaj {
namespace {

// Work that was short by what is known and then kept its submitter for longer than this: how long a model
// takes may depend on its data. Executors do its work for kRest times as long, so that submitters, who have
// connections to serve, lose little of their time to it. A thread may also lose its core for some
// milliseconds, to other processes or to a virtual machine's host: a first run that such a loss explains
// counts only if there is a second one within kRest times as long.
constexpr Nanos kLongHere{10'000'000};
constexpr Nanos kMostLost{30'000'000};
constexpr int kRest = 50;

}  // namespace

void Batcher::Answer(Lane& lane, std::span<Request* const> members, const Status& status) {
  const TimePoint now = clock_->Now();
  InstanceCounters& counters = lane.counters;
  uint64_t succeeded = 0, failed = 0, request_ns = 0, queue_ns = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    Request* request = members[i];
    if (options_.decoupled) EndStreaming(request);
    if (!request->Claim()) {  // withdrawn meanwhile: its rows were run for nobody, unless others wait for it
      // Whoever attached its inputs may have been told that it is over, and changed them while they were run.
      request = Successor(lane, request, status.ok() && request->keep_alive_ == nullptr);
      if (request == nullptr) continue;
    }
    request->status_ = status.ok() ? lane.assembly.Extract(i, *request) : status;
    if (!request->status_.ok()) request->outputs_.clear();
    request->started_ = lane.started;
    request->finished_ = now;
    request->batch_rows_ = static_cast<int64_t>(lane.rows);
    const auto queued =
        static_cast<uint64_t>(std::max<int64_t>(0, (lane.started - request->arrived).count()));
    const auto taken = static_cast<uint64_t>(std::max<int64_t>(0, (now - request->arrived).count()));
    counters.queue_ns.Add(queued);
    counters.queue.Add(queued);
    if (request->status_.ok() && request->features_stale()) counters.stale_features.Add(1);
    if (request->status_.ok() && request->reader_counts) {
      request->queue_time_ = lane.started - request->arrived;
      request->assemble_time_ = lane.assemble_time;
      request->run_time_ = lane.run_time;
    } else if (request->status_.ok()) {
      ++succeeded;
      request_ns += taken;
      queue_ns += queued;
      counters.request.Add(taken);
    } else {
      ++failed;
      counters.failed_request_ns.Add(taken);
    }
    if (request->promised_ > Nanos(0))
      ++(now - request->arrived <= request->promised_ ? lane.kept : lane.broken);
    if (request->keyed_) FinishFlight(lane, *request, now);
    lane.answered.push_back(request);
  }
  for (Request* const dropped : lane.dropped) dropped->Unref();
  lane.dropped.clear();
  lane.succeeded += succeeded;
  counters.requests_ok.Add(succeeded);
  if (succeeded > 0) lane.last_answer.Set(static_cast<uint64_t>(now.time_since_epoch().count()));
  counters.requests_failed.Add(failed);
  counters.ok_request_ns.Add(request_ns);
  counters.ok_queue_ns.Add(queue_ns);
  counters.ok_assemble_ns.Add(succeeded * static_cast<uint64_t>(lane.assemble_time.count()));
  counters.ok_run_ns.Add(succeeded * static_cast<uint64_t>(lane.run_time.count()));
}

void Batcher::CountAnswer(Request& request, bool answered) {
  const TimePoint now = clock_->Now();
  const auto nanos = [](Nanos time) { return static_cast<uint64_t>(std::max<int64_t>(0, time.count())); };
  request.reader_counts = false;
  MutexLock lock(mu_);
  InstanceCounters& counters = *laneless_counters_;
  if (!answered) {
    counters.requests_failed.Add(1);
    counters.failed_request_ns.Add(nanos(now - request.arrived));
    return;
  }
  const uint64_t deliver = request.run_time_ > Nanos(0) ? nanos(now - request.finished_) : 0;
  const uint64_t taken = nanos(request.finished_ - request.arrived);
  counters.requests_ok.Add(1);
  counters.request.Add(taken);
  counters.ok_request_ns.Add(taken + deliver);
  counters.ok_queue_ns.Add(nanos(request.queue_time_));
  counters.ok_assemble_ns.Add(nanos(request.assemble_time_));
  counters.ok_run_ns.Add(nanos(request.run_time_));
  counters.ok_deliver_ns.Add(deliver);
  last_laneless_ = now;
}

void Batcher::Deliver(Lane& lane) {
  const TimePoint begin = clock_->Now();
  if (book_) {
    MutexLock lock(mu_);
    EndSequences(lane.sequences);
  }
  for (Request* request : lane.answered) {
    if (request->deadline != TimePoint::max()) timer_->Remove(request);
  }
  const auto answered = static_cast<int64_t>(lane.answered.size());
  while (!lane.answered.empty()) {
    const std::shared_ptr<CompletionSink> sink = lane.answered.front()->sink;
    lane.delivery.clear();
    std::erase_if(lane.answered, [&](Request* request) {
      if (request->sink != sink) return false;
      lane.delivery.push_back(request);
      return true;
    });
    sink->Deliver(lane.delivery);
  }
  const auto deliver_ns = static_cast<uint64_t>((clock_->Now() - begin).count());
  lane.counters.deliver_ns.Add(deliver_ns);
  lane.counters.ok_request_ns.Add(lane.succeeded * deliver_ns);
  lane.counters.ok_deliver_ns.Add(lane.succeeded * deliver_ns);
  if (lane.rows > 0) lane.sizes.AddDelivery(lane.rows, deliver_ns);
  MutexLock lock(mu_);
  if (lane.on_submitter && lane.run_time > kLongHere) NoteLongRun(begin, lane.run_time);
  lane.on_submitter = false;
  if (lane.learned_rows >= 0) curve_.Add(lane.learned_rows, lane.learned_time);
  if (lane.kept + lane.broken > 0) promise_.Learn(lane.kept, lane.broken);
  LeaveSequences(lane.sequences);
  (lane.guest ? free_guests_ : free_lanes_).push_back(&lane);
  FinishInflight(answered);
  OfferMore();
}

void Batcher::NoteLongRun(TimePoint now, Nanos took) {
  const bool core_was_lost = took <= kMostLost && now >= suspect_until_;
  (core_was_lost ? suspect_until_ : executors_until_) = now + kRest * took;
}

void Batcher::FinishInflight(int64_t requests) {
  inflight_ -= requests;
  if (draining_.load() || closed_) idle_.NotifyAll();
}

void Batcher::EndStreaming(Request* request) {
  MutexLock lock(mu_);
  std::erase(streaming_, request);
}

void Batcher::Withdraw(Request* request, Status status, uint64_t AdmissionCounters::*counter) {
  if (!request->Claim()) return;
  bool was_queued = false;
  bool next_turn = false;  // of a flow, which nobody is offered
  std::shared_ptr<FlowRun> run;
  {
    MutexLock lock(mu_);
    ++(admission_.*counter);
    was_queued = request->queued_;
    const bool waited = request->waits_for_turn_;
    if (was_queued) queue_.Remove(request);
    if (waited) book_->StopWaiting(*request->live_, request);
    request->waits_for_turn_ = false;
    if (was_queued || waited || flow_) admitted_rows_ -= request->rows_;
    // One that is in a batch leaves its sequence with the batch; one in a flow, now.
    if (request->live_ && (was_queued || waited || request->run_)) {
      using Left = SequenceBook::Left;
      LeaveSequence(*request->live_, waited ? Left::kUnqueued : was_queued ? Left::kQueued : Left::kRan);
      OfferMore();
      next_turn = flow_ && !queue_.empty();
    }
    was_queued = was_queued || waited;
    if (request->flight_ != nullptr) was_queued = LeaveFlight(request, was_queued);
    run = std::move(request->run_);
  }
  if (options_.decoupled) request->parts_->End();
  timer_->Remove(request);
  request->status_ = std::move(status);
  request->finished_ = clock_->Now();
  request->started_ = request->finished_;
  const std::shared_ptr<CompletionSink> sink = request->sink;
  // The queue's reference, if it had one, becomes the sink's; else the running batch keeps its own.
  if (!was_queued) request->Ref();
  Request* const done[] = {request};
  sink->Deliver(done);
  if (run) run->Withdraw();
  if (next_turn) FlushScope::Add(shared_from_this());
  MutexLock lock(mu_);
  FinishInflight(1);
}

void Batcher::Cancel(Request* request) {
  Withdraw(request, Cancelled(Name() + ": the request was cancelled"), &AdmissionCounters::cancelled);
}

void Batcher::Expire(Request* request) {
  Withdraw(request, DeadlineExceeded(Name() + ": the deadline passed before the answer was there"),
           &AdmissionCounters::expired);
}

}  // namespace falaj

// The part of Batcher that models with a response cache pass: answers that are there already, and runs that
// equal requests have in common.
#include <algorithm>

#include "batch/batcher.h"

namespace falaj {
namespace {

// After so many failures of leaders, those that wait are run as if there were no cache: in batches, rather
// than one after another.
constexpr int kMostFailures = 2;

uint64_t Count(Nanos time) { return static_cast<uint64_t>(std::max<int64_t>(0, time.count())); }

}  // namespace

bool Batcher::QueueUnlessKept(Request* request, Deadline deadline) {
  const TimePoint begin = clock_->Now();
  const std::optional<Digest> digest = request->use_cache ? input_hash_->Of(request->inputs_) : std::nullopt;
  request->keyed_ = digest.has_value();
  ResponseCache::Dropped outdated;  // freed without the lock
  std::shared_ptr<const CachedAnswer> kept;
  Status refused;
  TimePoint end;
  {
    MutexLock lock(mu_);
    if (digest) kept = cache_.Find(*digest, begin, outdated);
    cached_.outdated += outdated.size();
    if (kept == nullptr) refused = QueueOrJoin(request, digest, deadline);
    end = clock_->Now();
    if (kept == nullptr && refused.ok()) {
      if (request->queued_ && digest) cached_.miss_ns += Count(end - begin);
      return true;
    }
    // The caller's pin, not the account of what is in flight, keeps this version until it is delivered.
    FinishInflight(1);
    TakeBackRows(*request);
    if (kept != nullptr) {
      const uint64_t taken = Count(end - request->arrived);
      ++cached_.hits;
      cached_.hit_ns += Count(end - begin);
      if (!request->reader_counts) {
        laneless_counters_->requests_ok.Add(1);
        laneless_counters_->ok_request_ns.Add(taken);
        laneless_counters_->request.Add(taken);
        last_laneless_ = end;
      }
    }
  }
  if (kept != nullptr) {
    request->outputs_.assign(kept->outputs().begin(), kept->outputs().end());
    request->own_outputs_.push_back(std::move(kept));
  }
  DeliverAtOnce(request, std::move(refused), end);
  return false;
}

Status Batcher::QueueOrJoin(Request* request, const std::optional<Digest>& digest, Deadline deadline) {
  Flight* const flight = digest ? flights_.Find(*digest) : nullptr;
  if (flight == nullptr) {
    FALAJ_RETURN_IF_ERROR(AdmitToQueue(*request));
    if (digest) flights_.Begin(*digest, request);
    ++(digest ? cached_.misses : cached_.skipped);
    Pend(request, deadline);
    queue_.PushBack(request);
    return Status::Ok();
  }
  // It asks for no run, but for memory.
  FALAJ_RETURN_IF_ERROR(CheckRoom(*request));
  admitted_rows_ += request->rows_;
  ++cached_.joined;
  Pend(request, deadline);
  Request* const leader = flight->leader;
  if (!leader->queued_ || leader->level_ <= request->level_) {
    flights_.Wait(*flight, request);
    return Status::Ok();
  }
  // The run is now as urgent as the most urgent of those that wait for it.
  queue_.Remove(leader);
  flights_.Lead(*flight, request);
  flights_.Wait(*flight, leader);
  queue_.PushBack(request);
  return Status::Ok();
}

void Batcher::TakeBackRows(const Request& request) {
  // So that a burst of hits leaves no holes among the rows of those that run.
  if (!request.slab_ || request.slab_.get() != open_slab_.get()) return;
  if (request.slab_row_ + request.rows_ == open_slab_->reserved_rows) {
    open_slab_->reserved_rows -= request.rows_;
  }
}

void Batcher::DeliverAtOnce(Request* request, Status status, TimePoint now) {
  request->status_ = std::move(status);
  request->started_ = request->finished_ = now;
  request->state_.store(Request::State::kFinished, std::memory_order_release);
  const std::shared_ptr<CompletionSink> sink = request->sink;
  request->Ref();  // the sink's
  Request* const done[] = {request};
  sink->Deliver(done);
}

bool Batcher::LeaveFlight(Request* request, bool was_queued) {
  Flight& flight = *request->flight_;
  if (flight.leader != request) {
    flights_.Leave(request);
    admitted_rows_ -= request->rows_;
    return true;
  }
  // One that is in a batch leads on: its run goes on, and answers the others.
  if (was_queued) PassOn(flight);
  return was_queued;
}

void Batcher::PassOn(Flight& flight) {
  Request* const next = flights_.TakeFirst(flight);
  if (next == nullptr) return flights_.End(flight);
  flights_.Lead(flight, next);
  queue_.PushBack(next);
  OfferMore();
}

void Batcher::FailFlight(Flight& flight) {
  if (++flight.failures < kMostFailures) return PassOn(flight);
  while (Request* const waiting = flights_.TakeFirst(flight)) queue_.PushBack(waiting);
  flights_.End(flight);
  OfferMore();
}

Request* Batcher::Successor(Lane& lane, Request* withdrawn, bool succeeded) {
  Request* next = nullptr;
  if (withdrawn->keyed_) {
    MutexLock lock(mu_);
    Flight* const flight = withdrawn->flight_;
    if (flight != nullptr && !succeeded) FailFlight(*flight);
    if (flight != nullptr && succeeded) {
      next = TakeWaiting(lane, *flight);
      next != nullptr ? flights_.Lead(*flight, next) : flights_.End(*flight);
    }
  }
  lane.dropped.push_back(withdrawn);
  return next;
}

Request* Batcher::TakeWaiting(Lane& lane, Flight& flight) {
  while (Request* const waiting = flights_.TakeFirst(flight)) {
    admitted_rows_ -= waiting->rows_;
    if (waiting->Claim()) return waiting;
    lane.dropped.push_back(waiting);
  }
  return nullptr;
}

void Batcher::FinishFlight(Lane& lane, Request& leader, TimePoint now) {
  const TimePoint begin = clock_->Now();
  std::shared_ptr<const CachedAnswer> answer;
  if (leader.status_.ok() && ResponseCache::IsKept(options_.cache, CachedAnswer::BytesOf(leader.outputs_))) {
    answer = CachedAnswer::CopyOf(leader.outputs_);
  }
  const size_t before = lane.answered.size();
  ResponseCache::Dropped evicted;  // freed without the lock
  {
    MutexLock lock(mu_);
    Flight* const flight = leader.flight_;
    if (flight == nullptr) return;  // it failed often, or the model is being closed
    if (!leader.status_.ok()) return FailFlight(*flight);
    if (answer != nullptr) cache_.Keep(flight->digest, std::move(answer), begin, evicted);
    cached_.evicted += evicted.size();
    while (Request* const waiting = TakeWaiting(lane, *flight)) lane.answered.push_back(waiting);
    flights_.End(*flight);
    cached_.hits += lane.answered.size() - before;
    cached_.miss_ns += Count(clock_->Now() - begin);
  }
  for (Request* const request : std::span(lane.answered).subspan(before)) {
    request->outputs_ = leader.outputs_;
    request->slab_ = leader.slab_;
    request->own_outputs_ = leader.own_outputs_;
    request->started_ = std::max(request->arrived, lane.started);
    request->finished_ = now;
    if (request->reader_counts) {
      request->queue_time_ = now - request->arrived;
      continue;
    }
    const uint64_t taken = Count(now - request->arrived);
    lane.counters.requests_ok.Add(1);
    lane.counters.ok_request_ns.Add(taken);
    lane.counters.ok_queue_ns.Add(taken);
    lane.counters.request.Add(taken);
  }
}

}  // namespace falaj

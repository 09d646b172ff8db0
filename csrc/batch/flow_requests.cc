// The part of Batcher for models that have a flow in place of a backend: requests on their way into it, and
// back.
#include <algorithm>

#include "batch/batcher.h"
#include "batch/flush_scope.h"

namespace falaj {
namespace {

void DeliverBySink(std::vector<Request*> left) {
  std::vector<Request*> delivery;
  while (!left.empty()) {
    const std::shared_ptr<CompletionSink> sink = left.front()->sink;
    delivery.clear();
    std::erase_if(left, [&](Request* request) {
      if (request->sink != sink) return false;
      delivery.push_back(request);
      return true;
    });
    sink->Deliver(delivery);
  }
}

}  // namespace

Result<std::shared_ptr<Batcher>> Batcher::MakeFlow(BatcherOptions options, std::shared_ptr<Flow> flow,
                                                   ExecutorPool* pool, DeadlineTimer* timer, Clock* clock) {
  // Its outputs are memory of the models that make them.
  auto layout = SlabLayout::Make(options.signature.inputs, {}, options.max_batch_rows);
  if (!layout.ok()) return layout.status();
  if (options.sequences) options.sequences->one_line_an_id = true;
  std::shared_ptr<Batcher> batcher(new Batcher(std::move(options), nullptr, std::move(flow),
                                               std::move(layout.value()), pool, timer, clock));
  if (batcher->book_) batcher->sequence_thread_ = std::thread(&Batcher::EndIdleSequences, batcher.get());
  auto lane = std::make_unique<Lane>(&batcher->options_, /*is_guest=*/false);
  MutexLock lock(batcher->mu_);
  batcher->free_lanes_.push_back(lane.get());
  batcher->lanes_.push_back(std::move(lane));
  return batcher;
}

void Batcher::StartFlow(RunHere run_here) {
  const FlushScope flushes(run_here == RunHere::kIfShort);
  std::shared_ptr<FlowRun> first;
  {
    MutexLock lock(mu_);
    if (queue_.empty()) return;
    const TimePoint now = clock_->Now();
    std::shared_ptr<FlowRun>* end = &first;
    while (!queue_.empty()) {
      queue_.View(RequestQueue::kWindow, view_, view_requests_);
      for (Request* request : view_requests_) {
        queue_.Remove(request);
        request->started_ = now;
        request->run_ = flow_->NewRun(request);
        *end = request->run_;
        end = &(*end)->next;
        request->Unref();  // the queue's; the run has one of its own
      }
    }
    // What comes from now on goes to fresh rows, so that a burst's rows are the first ones of a slab: the
    // same ones again and again where bursts are small, which backends know how to be quick with.
    open_slab_ = RefPtr<Slab>();
  }
  flow_->Start(std::move(first));
}

bool Batcher::FinishFlow(Request& request, Status status, std::span<const TensorView> outputs,
                         bool features_stale) {
  if (!request.Claim()) return false;
  request.status_ = std::move(status);
  request.features_stale_ = features_stale;
  request.finished_ = clock_->Now();
  if (request.status_.ok()) {
    request.outputs_.assign(outputs.begin(), outputs.end());
  } else {
    request.run_.reset();
  }
  return true;
}

void Batcher::DeliverFlow(std::span<Request* const> finished) {
  if (finished.empty()) return;
  const TimePoint begin = clock_->Now();
  LiveSequences sequences;
  {
    MutexLock lock(mu_);
    for (Request* request : finished) {
      admitted_rows_ -= request->rows_;
      CountFlow(*request, begin - request->finished_);
      if (request->live_) sequences.push_back(request->live_);
    }
    EndSequences(sequences);
  }
  for (Request* request : finished) {
    if (request->deadline != TimePoint::max()) timer_->Remove(request);
  }
  const std::shared_ptr<CompletionSink> first = finished.front()->sink;
  const auto others = std::count_if(finished.begin(), finished.end(),
                                    [&](const Request* request) { return request->sink != first; });
  if (others == 0) {
    first->Deliver(finished);
  } else {
    DeliverBySink({finished.begin(), finished.end()});
  }
  bool next_turns = false;
  {
    MutexLock lock(mu_);
    LeaveSequences(sequences);
    next_turns = book_ && !queue_.empty();
    FinishInflight(static_cast<int64_t>(finished.size()));
  }
  if (next_turns) FlushScope::Add(shared_from_this());
}

void Batcher::CountFlow(Request& request, Nanos delivered) {
  const auto nanos = [](Nanos time) { return static_cast<uint64_t>(std::max<int64_t>(0, time.count())); };
  Lane& lane = *lanes_[0];
  InstanceCounters& counters = lane.counters;
  const uint64_t queued = nanos(request.started_ - request.arrived);
  const uint64_t ran = nanos(request.finished_ - request.started_);
  const uint64_t taken = nanos(request.finished_ - request.arrived);
  const uint64_t deliver = nanos(delivered);
  counters.queue_ns.Add(queued);
  counters.queue.Add(queued);
  if (!request.status_.ok()) {
    counters.requests_failed.Add(1);
    counters.failed_request_ns.Add(taken);
    return;
  }
  const auto rows = static_cast<uint64_t>(request.rows_);
  counters.batches.Add(1);
  counters.rows.Add(rows);
  counters.batch_rows.Add(rows);
  counters.run_ns.Add(ran);
  counters.run.Add(ran);
  counters.deliver_ns.Add(deliver);
  if (request.features_stale_) counters.stale_features.Add(1);
  lane.sizes.AddRun(rows, 0, ran);
  lane.sizes.AddDelivery(rows, deliver);
  if (request.reader_counts) {
    request.queue_time_ = request.started_ - request.arrived;
    request.run_time_ = request.finished_ - request.started_;
    return;
  }
  counters.request.Add(taken);
  counters.requests_ok.Add(1);
  counters.ok_request_ns.Add(taken + deliver);
  counters.ok_queue_ns.Add(queued);
  counters.ok_run_ns.Add(ran);
  counters.ok_deliver_ns.Add(deliver);
  lane.last_answer.Set(nanos(request.finished_.time_since_epoch()));
}

}  // namespace falaj

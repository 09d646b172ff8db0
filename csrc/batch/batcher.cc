// The running part of Batcher: queueing and batches. admission.cc and
// caching.cc are before it, delivery.cc after it.
#include "batch/batcher.h"

#include <algorithm>

#include "batch/flush_scope.h"

namespace falaj {
namespace {

// In-place slabs above this size would hold too much memory for too few requests; such rows are copied
// together when their batch is formed instead.
constexpr size_t kMaxSlabBytes = size_t{16} << 20;
// What requests that wait in the pool to be used again may hold, all together.
constexpr size_t kKeepOwnBytes = size_t{4} << 20;
constexpr size_t kKeepRequests = 4096;
constexpr size_t kKeepSlabBytes = size_t{8} << 20;
constexpr size_t kMaxGuests = 64;

bool FitsInPlace(const BatcherOptions& options, const SlabLayout& layout) {
  if (!layout.all_inputs_fixed || layout.bytes > kMaxSlabBytes || options.inputs.empty()) return false;
  for (size_t i = 0; i < options.inputs.size(); ++i) {
    const InputPlan& plan = options.inputs[i];
    if (plan.is_mask || plan.pad_axis >= 0 || plan.source != static_cast<int>(i)) return false;
  }
  return true;
}

size_t RequiredInputs(const ModelSignature& signature) {
  size_t required = 0;
  while (required < signature.inputs.size() && !signature.inputs[required].optional) ++required;
  return required;
}

std::vector<int> PaddedAxes(const BatcherOptions& options) {
  std::vector<int> axes(options.signature.inputs.size(), -1);
  for (const InputPlan& plan : options.inputs) {
    if (!plan.is_mask) axes[static_cast<size_t>(plan.source)] = plan.pad_axis;
  }
  return axes;
}

SlabLimits LimitsOf(int instances) {
  const auto running = static_cast<size_t>(instances);
  return {running + 64, running + 2, kKeepSlabBytes};
}

}  // namespace

Result<std::shared_ptr<Batcher>> Batcher::Make(BatcherOptions options, std::unique_ptr<Backend> backend,
                                               ExecutorPool* pool, DeadlineTimer* timer, Clock* clock) {
  std::vector<TensorSpec> outputs = options.signature.outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!options.outputs[i].preallocate) outputs[i].shape.clear();  // which no slab holds
  }
  auto layout = SlabLayout::Make(options.signature.inputs, outputs, options.max_batch_rows);
  if (!layout.ok()) return layout.status();
  std::shared_ptr<Batcher> batcher(new Batcher(std::move(options), std::move(backend), nullptr,
                                               std::move(layout.value()), pool, timer, clock));
  Status status = batcher->MakeInputHash();
  if (status.ok()) status = batcher->MakeLanes();
  if (!status.ok()) {
    batcher->Close();
    return status;
  }
  pool->Add(batcher.get(), batcher->options_.cores_per_batch, batcher->options_.instances);
  if (batcher->book_) batcher->sequence_thread_ = std::thread(&Batcher::EndIdleSequences, batcher.get());
  return batcher;
}

Batcher::Batcher(BatcherOptions options, std::unique_ptr<Backend> backend, std::shared_ptr<Flow> flow,
                 SlabLayout layout, ExecutorPool* pool, DeadlineTimer* timer, Clock* clock)
    : options_(std::move(options)),
      placement_(flow ? flow->Placement() : backend->Placement()),
      pool_(pool),
      timer_(timer),
      clock_(clock),
      in_place_(FitsInPlace(options_, layout)),
      required_inputs_(RequiredInputs(options_.signature)),
      padded_axes_(PaddedAxes(options_)),
      slabs_(std::move(layout), LimitsOf(options_.instances)),
      backend_(std::move(backend)),
      flow_(std::move(flow)),
      queue_(options_.levels.size()),
      cache_(options_.cache),
      laneless_counters_(std::make_unique<InstanceCounters>()),
      book_(options_.sequences ? std::make_unique<SequenceBook>(*options_.sequences) : nullptr) {
  view_.reserve(RequestQueue::kWindow);
  view_requests_.reserve(RequestQueue::kWindow);
  picks_.reserve(RequestQueue::kWindow);
}

Batcher::Lane::Lane(const BatcherOptions* options, bool is_guest)
    : guest(is_guest), assembly(options, RequestQueue::kWindow), sizes(options->max_batch_rows) {
  for (auto* list : {&members, &answered, &delivery}) list->reserve(RequestQueue::kWindow);
  if (options->sequences) sequences.reserve(RequestQueue::kWindow);
}

Result<std::unique_ptr<Batcher::Lane>> Batcher::NewLane(bool guest) {
  auto instance = backend_->NewInstance();
  if (!instance.ok()) return instance.status();
  auto lane = std::make_unique<Lane>(&options_, guest);
  lane->instance = std::move(instance.value());
  return lane;
}

Status Batcher::MakeInputHash() {
  if (!caches()) return Status::Ok();
  auto hash = InputHash::Make();
  if (!hash.ok()) return Status(hash.status().code(), Name() + ", cache: " + hash.status().message());
  input_hash_ = std::move(*hash);
  return Status::Ok();
}

Status Batcher::MakeLanes() {
  for (int i = 0; i < options_.instances; ++i) {
    auto lane = NewLane(/*guest=*/false);
    if (!lane.ok()) return lane.status();
    MutexLock lock(mu_);
    free_lanes_.push_back(lane->get());
    lanes_.push_back(std::move(lane.value()));
  }
  MutexLock lock(mu_);
  guests_.reserve(kMaxGuests);
  free_guests_.reserve(kMaxGuests);
  return options_.run_on_submitter ? MakeGuest() : Status::Ok();  // the first before it is needed
}

Batcher::~Batcher() {
  for (Request* request : free_requests_) std::unique_ptr<Request>(request).reset();
}

RefPtr<Request> Batcher::NewRequest() {
  Request* request = nullptr;
  {
    MutexLock lock(mu_);
    if (!free_requests_.empty()) {
      request = free_requests_.back();
      free_requests_.pop_back();
      pooled_bytes_ -= request->own_.capacity();
    }
  }
  if (request == nullptr) {
    auto made = std::make_unique<Request>();
    made->inputs_.reserve(signature().inputs.size());
    made->outputs_.reserve(signature().outputs.size());
    request = made.release();  // back to unique_ptr in Recycle
  }
  if (options_.decoupled && request->parts_ == nullptr) {
    request->parts_ = std::make_unique<PartStream>(request);
  }
  request->batcher_ = shared_from_this();
  return RefPtr<Request>(request);
}

void Request::OnLastUnref() {
  const std::shared_ptr<Batcher> batcher = std::move(batcher_);
  batcher->Recycle(this);
}

void Batcher::Recycle(Request* request) {
  const bool finished = request->state_.load(std::memory_order_relaxed) == Request::State::kFinished;
  if (request->reader_counts && finished && request->status_.ok()) CountAnswer(*request, /*answered=*/true);
  const RefPtr<Request> whole = std::move(request->whole_);  // dropped without the lock
  if (whole) whole->parts_->Taken();
  if (request->parts_ != nullptr) request->parts_->Reset();
  std::unique_ptr<Request> owned(request);
  const bool abandoned =
      request->admitted_ && request->state_.load(std::memory_order_relaxed) == Request::State::kPreparing;
  const int64_t rows = request->rows_;
  request->sink.reset();
  request->tag = 0;
  request->priority = 0;
  request->deadline = TimePoint::max();
  request->admitted_ = false;
  request->keyed_ = false;
  request->use_cache = true;
  request->reader_counts = false;
  request->queue_time_ = request->assemble_time_ = request->run_time_ = Nanos(0);
  request->promised_ = Nanos(0);
  request->inputs_.clear();
  request->outputs_.clear();
  request->slab_ = RefPtr<Slab>();
  request->slab_row_ = -1;
  request->keep_alive_.reset();
  request->output_places.clear();
  request->places_owner.reset();
  request->own_outputs_.clear();
  request->status_ = Status::Ok();
  request->features.Clear();
  request->sequence.Clear();
  const std::shared_ptr<LiveSequence> left = std::move(request->live_);
  request->run_.reset();
  request->trace = {};
  request->features_stale_ = false;
  request->batch_rows_ = 0;
  request->state_.store(Request::State::kPreparing, std::memory_order_relaxed);
  MutexLock lock(mu_);
  if (abandoned) {
    if (left) LeaveSequence(*left, SequenceBook::Left::kUnqueued);
    if (!caches()) admitted_rows_ -= rows;
    FinishInflight(1);
  }
  if (free_requests_.size() >= kKeepRequests) return;
  if (pooled_bytes_ + request->own_.capacity() > kKeepOwnBytes) request->own_.Free();
  pooled_bytes_ += request->own_.capacity();
  free_requests_.push_back(owned.release());
}

void Batcher::Pend(Request* request, Deadline deadline) {
  request->Ref();
  request->state_.store(Request::State::kPending, std::memory_order_release);
  if (deadline == Deadline::kByTimer && request->deadline != TimePoint::max()) timer_->Add(request);
}

void Batcher::Queue(Request* request, Deadline deadline) {
  if (request->live_ == nullptr || book_->TakesTurn(*request->live_, request)) {
    queue_.PushBack(request);
  } else {
    request->waits_for_turn_ = true;
  }
  Pend(request, deadline);
}

void Batcher::Enqueue(Request* request, Deadline deadline) {
  if (caches()) {
    QueueUnlessKept(request, deadline);
    return;
  }
  MutexLock lock(mu_);
  Queue(request, deadline);
}

void Batcher::Flush(RunHere run_here) {
  if (flow_) return StartFlow(run_here);
  Lane* lane = nullptr;
  {
    MutexLock lock(mu_);
    lane = TakeOnSubmitter(run_here);
    OfferMore();
  }
  if (lane != nullptr) RunLane(*lane);
}

void Batcher::Submit(Request* request, Deadline deadline, RunHere run_here) {
  if (caches()) {
    if (QueueUnlessKept(request, deadline)) Flush(run_here);
    return;
  }
  if (flow_) {
    Enqueue(request, deadline);
    return StartFlow(run_here);
  }
  Lane* lane = nullptr;
  {
    MutexLock lock(mu_);
    Queue(request, deadline);
    lane = TakeOnSubmitter(run_here);
    OfferMore();
  }
  if (lane != nullptr) RunLane(*lane);
}

void Batcher::RunOne() {
  Lane* lane = nullptr;
  {
    MutexLock lock(mu_);
    --offered_;
    lane = TakeBatch(free_lanes_, /*only_if_short=*/false);
    OfferMore();
  }
  if (lane != nullptr) RunLane(*lane);
}

int Batcher::WantedBatches() const {
  if (queue_.empty() || free_lanes_.empty()) return 0;
  const auto idle = static_cast<int>(free_lanes_.size());
  if (options_.max_batch_rows == 0)
    return static_cast<int>(std::min<size_t>(queue_.size(), free_lanes_.size()));
  return SplitInto(queue_.rows(), {options_.max_batch_rows, idle, options_.short_work}, curve_);
}

void Batcher::OfferMore() {
  if (flow_) return;  // Flush starts what is queued
  const int more = WantedBatches() - offered_;
  if (more <= 0) return;
  offered_ += more;
  pool_->Offer(this, more);
}

Batcher::Lane* Batcher::TakeOnSubmitter(RunHere run_here) {
  if (run_here == RunHere::kNever || !options_.run_on_submitter || queue_.empty()) return nullptr;
  if (curve_.empty() || curve_.Estimate(1) > options_.short_work) return nullptr;
  if (executors_until_ != TimePoint{}) {
    if (clock_->Now() < executors_until_) return nullptr;
    executors_until_ = TimePoint{};
  }
  Lane* lane = TakeBatch(free_lanes_, /*only_if_short=*/true);
  if (lane == nullptr && free_lanes_.empty()) lane = TakeAsGuest();
  if (lane == nullptr) return nullptr;
  lane->on_submitter = true;
  lane->counters.on_submitter.Add(1);
  return lane;
}

Status Batcher::MakeGuest() {
  auto lane = NewLane(/*guest=*/true);
  if (!lane.ok()) return lane.status();
  free_guests_.push_back(lane->get());
  guests_.push_back(std::move(lane.value()));
  return Status::Ok();
}

Batcher::Lane* Batcher::TakeAsGuest() {
  if (free_guests_.empty() && guests_.size() < kMaxGuests && !closed_ && !MakeGuest().ok()) return nullptr;
  return TakeBatch(free_guests_, /*only_if_short=*/true);
}

bool Batcher::AllIdle() const {
  return free_lanes_.size() == lanes_.size() && free_guests_.size() == guests_.size();
}

Batcher::Lane* Batcher::TakeBatch(std::vector<Lane*>& idle, bool only_if_short) {
  if (queue_.empty() || idle.empty()) return nullptr;
  int64_t max_rows = options_.max_batch_rows;
  if (max_rows > 0) {
    const auto others = static_cast<int>(free_lanes_.size());
    const BatchLimits limits{max_rows, std::max(1, others), options_.short_work};
    const int parts = SplitInto(queue_.rows(), limits, curve_);
    max_rows = std::min(max_rows, (queue_.rows() + parts - 1) / parts);
    max_rows = std::max<int64_t>(max_rows, 1);
  }
  const Nanos expected = curve_.Estimate(std::min(std::max<int64_t>(max_rows, 1), queue_.rows()));
  if (only_if_short && (curve_.empty() || expected > options_.short_work)) return nullptr;

  Lane* lane = idle.back();
  picks_.clear();
  queue_.View(std::max<int64_t>(max_rows, 1), view_, view_requests_);
  PickBatch(view_, std::max<int64_t>(max_rows, 1), picks_);
  if (max_rows == 0 || options_.decoupled) picks_.resize(1);
  lane->members.clear();
  const Request* first = view_requests_[0];
  int64_t rows = 0;
  for (const uint32_t pick : picks_) {
    Request* request = view_requests_[pick];
    if (pick != 0 && !lane->assembly.CanJoin(*first, *request)) continue;  // a signature collision
    queue_.Remove(request);
    rows += request->rows_;
    lane->members.push_back(request);
    if (request->live_) lane->sequences.push_back(request->live_);
  }
  if (options_.decoupled) streaming_.push_back(lane->members[0]);
  admitted_rows_ -= rows;
  // What is reserved from now on goes to fresh rows: those of this batch must stay side by side.
  if (open_slab_ && first->slab_.get() == open_slab_.get()) open_slab_ = RefPtr<Slab>();
  idle.pop_back();
  lane->started = clock_->Now();
  lane->expected = expected;
  return lane;
}

void Batcher::RunLane(Lane& lane) {
  const FlushScope flushes(/*run_short=*/true);
  lane.answered.clear();
  lane.dropped.clear();
  lane.learned_rows = -1;
  lane.kept = lane.broken = 0;
  lane.succeeded = lane.rows = 0;
  lane.run_time = Nanos(0);
  Status status = RunMembers(lane, lane.members);
  if (status.ok() || lane.members.size() == 1) {
    Answer(lane, lane.members, status);
  } else {
    // One request's bad values must not fail its neighbours: each is tried alone.
    lane.counters.retried_alone.Add(lane.members.size());
    for (size_t i = 0; i < lane.members.size(); ++i) {
      const std::span<Request* const> alone(&lane.members[i], 1);
      Answer(lane, alone, RunMembers(lane, alone));
    }
  }
  lane.assembly.Release();
  Deliver(lane);
}

Status Batcher::RunMembers(Lane& lane, std::span<Request* const> members) {
  const TimePoint begin = clock_->Now();
  FALAJ_RETURN_IF_ERROR(lane.assembly.Assemble(members, slabs_));
  const TimePoint assembled = clock_->Now();
  Status status = lane.instance->Run(lane.assembly.io());
  const TimePoint ran = clock_->Now();
  const auto rows = static_cast<uint64_t>(lane.assembly.rows());
  InstanceCounters& counters = lane.counters;
  lane.rows = rows;
  lane.assemble_time = assembled - begin;
  lane.run_time = ran - assembled;
  counters.assemble_ns.Add(static_cast<uint64_t>((assembled - begin).count()));
  counters.run_ns.Add(static_cast<uint64_t>((ran - assembled).count()));
  counters.run.Add(static_cast<uint64_t>((ran - assembled).count()));
  lane.sizes.AddRun(rows, static_cast<uint64_t>(lane.assemble_time.count()),
                    static_cast<uint64_t>(lane.run_time.count()));
  counters.elements.Add(lane.assembly.elements());
  counters.padding_elements.Add(lane.assembly.padding_elements());
  if (!status.ok()) return Status(status.code(), Name() + ": " + status.message());
  FALAJ_RETURN_IF_ERROR(lane.assembly.CheckOutputs());
  // The protocol counts inferences and executions that succeeded.
  counters.batches.Add(1);
  counters.rows.Add(rows);
  counters.batch_rows.Add(rows);
  lane.learned_rows = lane.assembly.rows();
  lane.learned_time = ran - begin;
  return Status::Ok();
}

void Batcher::Unpin() {
  if (pins_.fetch_sub(1) != 1 || !draining_.load()) return;
  MutexLock lock(mu_);
  idle_.NotifyAll();
}

bool Batcher::Drain(TimePoint until) {
  draining_.store(true);
  MutexLock lock(mu_);
  while (pins_.load() > 0 || inflight_ > 0 || !AllIdle()) {
    if (clock_->Now() >= until) return false;
    clock_->WaitUntil(idle_, mu_, until);
  }
  return true;
}

void Batcher::Close() {
  std::vector<Request*> queued;
  std::vector<RefPtr<Request>> streaming;
  ResponseCache::Dropped kept;  // freed without the lock
  {
    MutexLock lock(mu_);
    if (closed_) return;
    closed_ = true;
    cache_.Clear(kept);
    for (Request* const request : streaming_) streaming.push_back(RefPtr<Request>(request));
    while (Flight* const flight = flights_.Any()) {
      while (Request* const waiting = flights_.TakeFirst(*flight)) {
        queued.push_back(waiting);
        admitted_rows_ -= waiting->rows_;
      }
      flights_.End(*flight);
    }
    while (!queue_.empty()) {
      queue_.View(RequestQueue::kWindow, view_, view_requests_);
      for (Request* request : view_requests_) {
        queued.push_back(request);
        queue_.Remove(request);
        admitted_rows_ -= request->rows_;
      }
    }
    if (book_) {
      const size_t before = queued.size();
      book_->StopWaiting(queued);
      for (Request* request : std::span(queued).subspan(before)) {
        request->waits_for_turn_ = false;
        admitted_rows_ -= request->rows_;
      }
      sequence_time_.NotifyAll();
      idle_.NotifyAll();
    }
  }
  if (sequence_thread_.joinable()) sequence_thread_.join();
  const Status status = Unavailable(Name() + " was unloaded before the request was run");
  for (Request* request : queued) {
    Withdraw(request, status, &AdmissionCounters::unloaded);
    request->Unref();  // the queue's
  }
  const Status cut = Unavailable(Name() + " was unloaded before it had given all answers");
  for (const auto& request : streaming) Withdraw(request.get(), cut, &AdmissionCounters::unloaded);
  pool_->Remove(this);
  {
    MutexLock lock(mu_);
    while (!AllIdle() || (flow_ && inflight_ > 0)) idle_.Wait(mu_);
    free_lanes_.clear();
    free_guests_.clear();
    for (auto& guest : guests_) guest->instance.reset();
    open_slab_ = RefPtr<Slab>();
  }
  for (auto& lane : lanes_) lane->instance.reset();
  backend_.reset();
  if (flow_) flow_->Close();
}

Nanos Batcher::EstimatedCost(int64_t rows) const {
  MutexLock lock(mu_);
  return curve_.Estimate(rows);
}

void Batcher::Learn(int64_t rows, Nanos time) {
  MutexLock lock(mu_);
  curve_.Add(rows, time);
}

Status Batcher::WarmUp(std::span<const TensorView> inputs, int times, int instances) {
  const RefPtr<Request> request = NewRequest();
  std::vector<Shape> shapes;
  for (const TensorView& view : inputs) shapes.push_back(view.shape);
  FALAJ_RETURN_IF_ERROR(CheckShapes(*request, shapes));
  request->inputs_.assign(inputs.begin(), inputs.end());
  Request* const members[] = {request.get()};
  for (auto& lane : std::span(lanes_).first(std::min(lanes_.size(), static_cast<size_t>(instances)))) {
    for (int i = 0; i < times; ++i) {
      const TimePoint begin = clock_->Now();
      FALAJ_RETURN_IF_ERROR(lane->assembly.Assemble(members, slabs_));
      FALAJ_RETURN_IF_ERROR(backend_->WarmUp(*lane->instance, lane->assembly.io()));
      FALAJ_RETURN_IF_ERROR(lane->assembly.CheckOutputs());
      lane->assembly.Release();
      if (i > 0) Learn(request->rows_, clock_->Now() - begin);  // the first run pays for more than itself
    }
  }
  return Status::Ok();
}

}  // namespace falaj

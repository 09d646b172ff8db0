#include "route/pipeline_run.h"

#include <algorithm>
#include <cstring>

namespace falaj {

PipelineRun::PipelineRun(Pipeline* pipeline) : pipeline_(pipeline) {
  const PipelinePlan& plan = pipeline->plan();
  steps_.resize(plan.steps.size());
  for (Step& step : steps_) step.run = this;
  values_.resize(plan.tensors.size());
  outputs_.resize(plan.outputs.size());
  defaults_.resize(plan.outputs.size());
}

void PipelineRun::Begin(Request* request) {
  MutexLock lock(mu_);
  request_ = RefPtr<Request>(request);
  for (size_t i = 0; i < values_.size(); ++i) values_[i].makers_left = pipeline_->makers_[i];
  for (size_t i = 0; i < pipeline_->plan_.inputs; ++i) {
    values_[i].view = request->inputs()[i];
    values_[i].presence = Presence::kThere;
  }
}

void PipelineRun::Clear() {
  // Outside of the lock: it may be the last reference, whose end wants the locks of the pipeline's batcher.
  RefPtr<Request> dropped;
  MutexLock lock(mu_);
  dropped = std::exchange(request_, RefPtr<Request>());
  for (Step& step : steps_) {
    step.request = RefPtr<Request>();
    step.state = StepState::kWaiting;
  }
  for (Value& value : values_) value = {};
  for (Buffer& buffer : defaults_) buffer.Free();
  ended_ = features_stale_ = false;
  over_ = 0;
  next.reset();
}

void PipelineRun::Withdraw() {
  // What is dropped below may have been the last to hold us.
  const std::shared_ptr<PipelineRun> self = shared_from_this();
  std::unique_ptr<Pipeline::Turn> turn = pipeline_->Enter();
  {
    MutexLock lock(mu_);
    if (!ended_) {
      ended_ = true;
      for (const Step& step : steps_) {
        if (step.state == StepState::kUnderWay) turn->withdrawn.push_back(step.request);
      }
    }
  }
  pipeline_->Leave(std::move(turn));
}

bool PipelineRun::ended() {
  MutexLock lock(mu_);
  return ended_;
}

void PipelineRun::Advance(Pipeline::Turn& turn) {
  turn.runs.push_back(shared_from_this());
  MutexLock lock(mu_);
  if (!ended_) GoOn(turn);
}

void PipelineRun::StepEnded(Pipeline::Turn& turn, Request* request) {
  RefPtr<Request> ended(request);
  request->Unref();  // the sink's
  auto* const step = reinterpret_cast<Step*>(request->tag);
  PipelineRun& run = *step->run;  // which the step's request holds
  turn.runs.push_back(run.shared_from_this());
  std::shared_ptr<void> kept;  // let go of when the lock is
  RefPtr<Request> held;
  MutexLock lock(run.mu_);
  held = std::exchange(step->request, RefPtr<Request>());
  const auto index = static_cast<size_t>(step - run.steps_.data());
  if (request->trace.sampled) run.pipeline_->RecordStep(index, *request);
  run.Take(turn, index, std::move(ended), kept);
}

void PipelineRun::Take(Pipeline::Turn& turn, size_t index, RefPtr<Request> request,
                       std::shared_ptr<void>& kept) {
  Step& step = steps_[index];
  if (ended_) {
    step.state = StepState::kOver;
    return;
  }
  if (!request->status().ok()) {
    step.state = StepState::kOver;
    return Fail(turn,
                Status(request->status().code(), pipeline_->Where(index) + request->status().message()));
  }
  kept = request->TakeKeepAlive();
  features_stale_ = features_stale_ || request->features_stale();
  const Status status = TakeOutputs(index, *request);
  step.request = std::move(request);
  End(index);
  if (!status.ok()) return Fail(turn, status);
  GoOn(turn);
}

Status PipelineRun::TakeOutputs(size_t index, const Request& request) {
  const ModelSignature& signature = request.batcher().signature();
  for (const StepTensor& output : pipeline_->plan_.steps[index].outputs) {
    Value& value = values_[output.tensor];
    if (value.presence == Presence::kThere) {
      return InvalidInput(pipeline_->Where(index) + "it made tensor '" +
                          pipeline_->plan_.tensors[output.tensor].name +
                          "', which a step of another branch has made already");
    }
    value.view = request.outputs()[static_cast<size_t>(signature.OutputIndex(output.name))];
    value.presence = Presence::kThere;
  }
  return Status::Ok();
}

// A step is over, or passed over: nothing more comes of it.
void PipelineRun::End(size_t index) {
  steps_[index].state = StepState::kOver;
  ++over_;
  for (const StepTensor& output : pipeline_->plan_.steps[index].outputs) {
    Value& value = values_[output.tensor];
    if (--value.makers_left == 0 && value.presence == Presence::kUnknown) value.presence = Presence::kAbsent;
  }
}

void PipelineRun::GoOn(Pipeline::Turn& turn) {
  // In the plan's order a step that is passed over comes before those that are passed over for it.
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].state != StepState::kWaiting) continue;
    if (Status status = Look(turn, i); !status.ok()) return Fail(turn, std::move(status));
  }
  if (over_ == steps_.size()) Answer(turn);
}

Status PipelineRun::Look(Pipeline::Turn& turn, size_t index) {
  const auto& when = pipeline_->plan_.steps[index].when;
  if (when) {
    const Value& scalar = values_[when->tensor];
    if (scalar.presence == Presence::kUnknown) return Status::Ok();
    bool holds = false;
    if (scalar.presence == Presence::kThere) {
      auto compared = Holds(*when, scalar.view);
      if (!compared.ok()) {
        return Status(compared.status().code(), pipeline_->Where(index) + "`when`, tensor '" +
                                                    pipeline_->plan_.tensors[when->tensor].name +
                                                    "': " + compared.status().message());
      }
      holds = *compared;
    }
    if (!holds) {
      End(index);
      return Status::Ok();
    }
  }
  const Presence inputs = InputsOf(index);
  if (inputs == Presence::kThere) return Ask(turn, index);
  if (inputs == Presence::kAbsent) End(index);
  return Status::Ok();
}

PipelineRun::Presence PipelineRun::InputsOf(size_t index) const {
  Presence all = Presence::kThere;
  for (const StepTensor& input : pipeline_->plan_.steps[index].inputs) {
    const Presence presence = values_[input.tensor].presence;
    if (presence == Presence::kAbsent) return Presence::kAbsent;
    if (presence == Presence::kUnknown) all = Presence::kUnknown;
  }
  return all;
}

Status PipelineRun::Ask(Pipeline::Turn& turn, size_t index) {
  Pipeline::Target& target = pipeline_->TargetOf(turn, index, request_->sequence);
  FALAJ_RETURN_IF_ERROR(target.status);
  Batcher& batcher = **target.lease;
  Step& step = steps_[index];
  RefPtr<Request> request = batcher.NewRequest();
  request->sink = pipeline_->shared_from_this();
  request->tag = reinterpret_cast<uint64_t>(&step);
  request->priority = std::min(request_->priority, static_cast<int>(batcher.options().levels.size()));
  request->deadline = request_->deadline;
  if (request_->trace.sampled) request->trace = pipeline_->tracing_->Child(request_->trace);
  if (batcher.options().sequences) request->sequence = request_->sequence;
  request->use_cache = request_->use_cache;
  if (!request_->features.id.empty()) request->features.id = request_->features.id;
  turn.views.clear();
  for (const size_t tensor : target.inputs) turn.views.push_back(values_[tensor].view);
  if (Status status = batcher.Attach(*request, turn.views, shared_from_this()); !status.ok()) {
    return Status(status.code(), pipeline_->Where(index) + status.message());
  }
  // The pipeline's own request is watched already. A step's may have another end, its model's default.
  const bool is_watched = request->deadline == request_->deadline;
  step.request = request;
  step.state = StepState::kUnderWay;
  const auto deadline = is_watched ? Batcher::Deadline::kBySubmitter : Batcher::Deadline::kByTimer;
  turn.asked.push_back({std::move(request), deadline, this});
  if (!target.flush) target.flush = batcher.shared_from_this();
  return Status::Ok();
}

void PipelineRun::Fail(Pipeline::Turn& turn, Status status) {
  ended_ = true;
  for (const Step& step : steps_) {
    if (step.state == StepState::kUnderWay) turn.withdrawn.push_back(step.request);
  }
  if (!request_->batcher().FinishFlow(*request_, std::move(status), {}, false)) return;
  request_->Ref();  // the sink's
  turn.finished.push_back(request_.get());
}

void PipelineRun::Answer(Pipeline::Turn& turn) {
  const PipelinePlan& plan = pipeline_->plan_;
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const Value& value = values_[plan.outputs[i].tensor];
    if (value.presence == Presence::kThere) {
      outputs_[i] = value.view;
      continue;
    }
    if (!plan.outputs[i].default_row) return Fail(turn, InvalidInput(NotMade(i)));
    if (Status status = FillDefault(i); !status.ok()) return Fail(turn, std::move(status));
  }
  ended_ = true;
  if (!request_->batcher().FinishFlow(*request_, Status::Ok(), outputs_, features_stale_)) return;
  request_->Ref();  // the sink's
  turn.finished.push_back(request_.get());
  request_ = RefPtr<Request>();  // which holds us from now on
}

Status PipelineRun::FillDefault(size_t output) {
  const PipelineOutput& told = pipeline_->plan_.outputs[output];
  const std::string& row = *told.default_row;
  const bool batches = pipeline_->plan_.batches;
  const int64_t rows = batches ? request_->rows() : 1;
  std::vector<int64_t> shape = told.default_shape;
  if (batches) shape.insert(shape.begin(), rows);
  const auto bytes = CheckedMultiply(row.size(), static_cast<size_t>(rows));
  if (!bytes) return InvalidInput("a default of " + std::to_string(rows) + " rows is too large to address");
  FALAJ_RETURN_IF_ERROR(defaults_[output].Reserve(*bytes));
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(defaults_[output].data() + static_cast<size_t>(i) * row.size(), row.data(), row.size());
  }
  outputs_[output] = {pipeline_->plan_.tensors[told.tensor].type, Shape(shape), defaults_[output].data()};
  return Status::Ok();
}

std::string PipelineRun::NotMade(size_t output) const {
  const PipelinePlan& plan = pipeline_->plan_;
  const size_t tensor = plan.outputs[output].tensor;
  std::string makers;
  for (const PipelineStep& step : plan.steps) {
    for (const StepTensor& made : step.outputs) {
      if (made.tensor == tensor) makers += (makers.empty() ? "'" : ", '") + step.name + "'";
    }
  }
  return "pipeline '" + plan.name + "' version " + std::to_string(plan.version) + ", output '" +
         plan.tensors[tensor].name + "': no step has made it: the branches of its steps (" + makers +
         ") were not taken, and it has no default";
}

}  // namespace falaj

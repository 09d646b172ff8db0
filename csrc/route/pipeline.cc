#include "route/pipeline.h"

#include <algorithm>

#include "batch/flush_scope.h"
#include "route/pipeline_run.h"

namespace falaj {
namespace {

// What waits to be used again.
constexpr size_t kKeepRuns = 1024;
constexpr size_t kKeepTurns = 16;

}  // namespace

thread_local Pipeline::Turn* Pipeline::enqueuing_ = nullptr;

Result<std::shared_ptr<Pipeline>> Pipeline::Make(PipelinePlan plan, const ModelTable* table,
                                                 std::shared_ptr<Tracing> tracing) {
  FALAJ_RETURN_IF_ERROR(plan.Check());
  return std::shared_ptr<Pipeline>(new Pipeline(std::move(plan), table, std::move(tracing)));
}

Pipeline::Pipeline(PipelinePlan plan, const ModelTable* table, std::shared_ptr<Tracing> tracing)
    : plan_(std::move(plan)), table_(table), tracing_(std::move(tracing)), makers_(plan_.tensors.size(), 0) {
  for (const PipelineStep& step : plan_.steps) {
    for (const StepTensor& output : step.outputs) ++makers_[output.tensor];
  }
}

std::shared_ptr<FlowRun> Pipeline::NewRun(Request* request) {
  std::unique_ptr<PipelineRun> run;
  {
    MutexLock lock(mu_);
    if (!free_runs_.empty()) {
      run = std::move(free_runs_.back());
      free_runs_.pop_back();
    }
  }
  if (!run) run = std::make_unique<PipelineRun>(this);
  run->Begin(request);
  // The last owner hands it back, and with it the hold on us: the run itself, by what it is shared with,
  // keeps this function until it is used again.
  return std::shared_ptr<PipelineRun>(run.release(), [self = shared_from_this()](PipelineRun* ended) mutable {
    const std::shared_ptr<Pipeline> pipeline = std::move(self);
    pipeline->Recycle(ended);
  });
}

void Pipeline::Recycle(PipelineRun* run) {
  std::unique_ptr<PipelineRun> owned(run);
  owned->Clear();
  MutexLock lock(mu_);
  if (free_runs_.size() < kKeepRuns) free_runs_.push_back(std::move(owned));
}

std::unique_ptr<Pipeline::Turn> Pipeline::Enter() {
  {
    MutexLock lock(mu_);
    ++turns_out_;
    if (!free_turns_.empty()) {
      std::unique_ptr<Turn> turn = std::move(free_turns_.back());
      free_turns_.pop_back();
      return turn;
    }
  }
  auto turn = std::make_unique<Turn>();
  turn->pipeline = this;
  turn->targets.resize(plan_.steps.size());
  return turn;
}

// Round by round rather than one within another: a chain may be long.
void Pipeline::EnqueueAsked(Turn& turn) {
  while (!turn.asked.empty()) {
    turn.enqueued.swap(turn.asked);
    for (const Asked& step : turn.enqueued) {
      enqueuing_ = &turn;
      step.request->batcher().Enqueue(step.request.get(), step.deadline);
      enqueuing_ = nullptr;
      // Whoever withdrew the run in between could not withdraw this.
      if (step.run->ended()) turn.withdrawn.push_back(step.request);
    }
    turn.enqueued.clear();
    for (Request* request : turn.answered) PipelineRun::StepEnded(turn, request);
    turn.answered.clear();
  }
}

void Pipeline::Leave(std::unique_ptr<Turn> turn) {
  EnqueueAsked(*turn);
  for (Target& target : turn->targets) {
    if (target.flush) FlushScope::Add(std::move(target.flush));
    target.flush.reset();
    target.lease.reset();
    target.status = Status::Ok();
    target.looked_up = false;
  }
  for (Target& target : turn->begun) {
    if (target.flush) FlushScope::Add(std::move(target.flush));
  }
  turn->begun.clear();
  // Each ends in a call of Deliver, for a run that has ended.
  for (const RefPtr<Request>& step : turn->withdrawn) step->batcher().Cancel(step.get());
  turn->withdrawn.clear();
  if (!turn->finished.empty()) {
    const std::shared_ptr<Batcher> batcher = turn->finished[0]->batcher().shared_from_this();
    batcher->DeliverFlow(turn->finished);
  }
  turn->finished.clear();
  turn->runs.clear();
  MutexLock lock(mu_);
  if (free_turns_.size() < kKeepTurns) free_turns_.push_back(std::move(turn));
  if (--turns_out_ == 0) left_.NotifyAll();
}

void Pipeline::Start(std::shared_ptr<FlowRun> first) {
  std::unique_ptr<Turn> turn = Enter();
  // One by one: the end of a long chain would otherwise end it link within link.
  for (std::shared_ptr<FlowRun> run = std::move(first); run;) {
    std::shared_ptr<FlowRun> next = std::move(run->next);
    static_cast<PipelineRun&>(*run).Advance(*turn);
    run = std::move(next);
  }
  Leave(std::move(turn));
}

void Pipeline::Deliver(std::span<Request* const> done) {
  if (enqueuing_ != nullptr && enqueuing_->pipeline == this) {
    enqueuing_->answered.insert(enqueuing_->answered.end(), done.begin(), done.end());
    return;
  }
  std::unique_ptr<Turn> turn = Enter();
  for (Request* request : done) PipelineRun::StepEnded(*turn, request);
  Leave(std::move(turn));
}

void Pipeline::Close() {
  MutexLock lock(mu_);
  while (turns_out_ > 0) left_.Wait(mu_);
}

std::string Pipeline::Where(size_t step) const {
  return "pipeline '" + plan_.name + "' version " + std::to_string(plan_.version) + ", step '" +
         plan_.steps[step].name + "': ";
}

Pipeline::Target& Pipeline::TargetOf(Turn& turn, size_t step, const RequestSequence& sequence) {
  const PipelineStep& asked = plan_.steps[step];
  Target& target = turn.targets[step];
  if (!target.looked_up) {
    target.looked_up = true;
    target.status = Fit(step, table_->Find(asked.model, asked.version), target);
  }
  if (!plan_.keeps_sequences || sequence.start) return target;
  // It may have begun on a version that has been replaced since, and which finishes it.
  auto found = table_->Find(asked.model, asked.version, &sequence);
  if (!found.ok() || (target.lease && &**found == &**target.lease)) return target;
  Target& begun = turn.begun.emplace_back();
  begun.status = Fit(step, std::move(found), begun);
  return begun;
}

void Pipeline::RecordStep(size_t step, const Request& request) const {
  const BatcherOptions& model = request.batcher().options();
  TraceRecord record;
  record.context = request.trace;
  record.kind = TraceKind::kStep;
  record.status = static_cast<int32_t>(request.status().code());
  record.version = model.version;
  record.rows = request.rows();
  record.batch_rows = request.batch_rows();
  record.times.began = record.times.enqueued = request.arrived;
  record.times.started = request.started();
  record.times.finished = record.times.ended = request.finished();
  record.SetText(model.model, plan_.steps[step].name, {});
  tracing_->Record(record);
}

// What was found when the pipeline was loaded may have been replaced since by a version that does not fit.
Status Pipeline::Fit(size_t step, Result<ModelLease> found, Target& target) const {
  const PipelineStep& asked = plan_.steps[step];
  if (!found.ok()) return Unavailable(Where(step) + found.status().message());
  Batcher& batcher = **found;
  const ModelSignature& signature = batcher.signature();
  const auto misfit = [&](const std::string& what) {
    return Unavailable(Where(step) + batcher.Name() + " does not fit the pipeline any more: " + what);
  };
  if (batcher.options().sequences && !plan_.keeps_sequences) return misfit("it keeps sequences");
  for (const StepTensor& output : asked.outputs) {
    const int index = signature.OutputIndex(output.name);
    if (index < 0) return misfit("it has no output '" + output.name + "'");
    const TensorSpec& spec = signature.outputs[static_cast<size_t>(index)];
    if (spec.type != plan_.tensors[output.tensor].type) {
      return misfit("output '" + output.name + "': expected " +
                    DataTypeName(plan_.tensors[output.tensor].type) + ", it has " + spec.ToString());
    }
  }
  target.inputs.clear();
  size_t used = 0;
  for (size_t i = 0; i < batcher.required_inputs(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    const auto given = std::find_if(asked.inputs.begin(), asked.inputs.end(),
                                    [&](const StepTensor& input) { return input.name == spec.name; });
    if (given == asked.inputs.end()) return misfit("nothing is given for its input '" + spec.name + "'");
    const PipelineTensor& tensor = plan_.tensors[given->tensor];
    if (spec.type != tensor.type) {
      return misfit("input '" + spec.name + "': expected " + DataTypeName(tensor.type) + ", it has " +
                    spec.ToString());
    }
    target.inputs.push_back(given->tensor);
    ++used;
  }
  for (const StepTensor& input : asked.inputs) {
    if (used < asked.inputs.size() && signature.InputIndex(input.name) < 0) {
      return misfit("it has no input '" + input.name + "'");
    }
  }
  target.lease.emplace(std::move(found).value());
  return Status::Ok();
}

}  // namespace falaj

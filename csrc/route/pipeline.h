// Models in a graph, served as one model: hands each request from step to step, and its tensors where they
// lie.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "batch/batcher.h"
#include "batch/flow.h"
#include "core/mutex.h"
#include "observe/tracing.h"
#include "route/model_table.h"
#include "route/pipeline_plan.h"

namespace falaj {

class PipelineRun;

// The flow of a pipeline's Batcher. A request's step is a Request of the step's own model, whose tensors are
// attached where earlier steps left them, so that steps of all pipelines and direct requests meet in that
// model's batches. Thread-safe. Invariants:
// 1. Every run ends once: with an answer, with its first failure, or by its withdrawal. From then on no
//    step is begun for it, and those under way are withdrawn.
// 2. A step is begun when all of its inputs are there and its condition holds; it is passed over when
//    that can no longer be.
// 3. What a step reads lives until the batch that reads it is over, whatever becomes of the request.
// A whole batch's delivery is worked off in one Turn: next steps are enqueued in its order, with no lock
// held, since a model that keeps answers may deliver one at once; what was delivered so is worked off too;
// then each of their models is flushed once, and what ended is handed out in one call. Lock order: a run's
// mutex, then those of the table and of the steps' batchers. `mu_` is a leaf.
class Pipeline final : public Flow, public CompletionSink, public std::enable_shared_from_this<Pipeline> {
 public:
  // `table` is read until Close; steps of traced requests are recorded in `tracing`. Fails with InvalidInput
  // where the plan is none.
  static Result<std::shared_ptr<Pipeline>> Make(PipelinePlan plan, const ModelTable* table,
                                                std::shared_ptr<Tracing> tracing);

  const PipelinePlan& plan() const { return plan_; }

  std::shared_ptr<FlowRun> NewRun(Request* request) override EXCLUDES(mu_);
  void Start(std::shared_ptr<FlowRun> first) override EXCLUDES(mu_);
  void Close() override EXCLUDES(mu_);
  std::string Placement() const override { return "pipeline"; }

  // Steps that have ended. `tag` is the run's.
  void Deliver(std::span<Request* const> done) override EXCLUDES(mu_);

 private:
  friend class PipelineRun;

  // A step's model as one turn finds it.
  struct Target {
    bool looked_up = false;
    Status status;  // why it cannot be asked
    std::optional<ModelLease> lease;
    std::vector<size_t> inputs;      // tensors, in the order of the model's signature
    std::shared_ptr<Batcher> flush;  // what was enqueued there waits for
  };
  // A step's request that is admitted and not yet enqueued.
  struct Asked {
    RefPtr<Request> request;
    Batcher::Deadline deadline;
    PipelineRun* run;  // which its turn holds
  };
  // One thread's pass through the flow.
  struct Turn {
    const Pipeline* pipeline = nullptr;
    std::vector<Target> targets;  // by step
    std::deque<Target> begun;     // other versions, for sequences that began there; rarely any
    std::vector<TensorView> views;
    std::vector<Asked> asked, enqueued;
    std::vector<Request*> answered;  // while they were enqueued, by what a model keeps; a reference each
    std::vector<RefPtr<Request>> withdrawn;          // steps to be cancelled
    std::vector<Request*> finished;                  // claimed: a reference each
    std::vector<std::shared_ptr<PipelineRun>> runs;  // of what is worked on, until the turn is over
  };

  Pipeline(PipelinePlan plan, const ModelTable* table, std::shared_ptr<Tracing> tracing);

  std::unique_ptr<Turn> Enter() EXCLUDES(mu_);
  void Leave(std::unique_ptr<Turn> turn) EXCLUDES(mu_);
  void EnqueueAsked(Turn& turn);
  Target& TargetOf(Turn& turn, size_t step, const RequestSequence& sequence);
  Status Fit(size_t step, Result<ModelLease> found, Target& target) const;
  void RecordStep(size_t step, const Request& request) const;
  void Recycle(PipelineRun* run) EXCLUDES(mu_);
  std::string Where(size_t step) const;  // "pipeline 'p' version 1, step 's': "

  static thread_local Turn* enqueuing_;  // of this thread; null: none

  const PipelinePlan plan_;
  const ModelTable* const table_;
  const std::shared_ptr<Tracing> tracing_;
  std::vector<size_t> makers_;  // how many steps make each tensor

  Mutex mu_;
  CondVar left_;  // turns_out_ reached zero
  size_t turns_out_ GUARDED_BY(mu_) = 0;
  std::vector<std::unique_ptr<Turn>> free_turns_ GUARDED_BY(mu_);
  std::vector<std::unique_ptr<PipelineRun>> free_runs_ GUARDED_BY(mu_);
};

}  // namespace falaj

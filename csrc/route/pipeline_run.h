// One request of a pipeline between its arrival and its answer.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "batch/request.h"
#include "core/mutex.h"
#include "core/tensor.h"
#include "route/pipeline.h"

namespace falaj {

// Pooled by its pipeline. Held by: the pipeline's request, from its start until it is withdrawn or fails, and
// where it is answered until that is read; each step's request under way, as what keeps its inputs; the turns
// that work on it. It holds the pipeline's request until that is answered, or else as long as it lives, and
// the requests of steps: while under way, and where they succeeded (their outputs are inputs of others) as
// long as it lives.
class PipelineRun final : public FlowRun, public std::enable_shared_from_this<PipelineRun> {
 public:
  explicit PipelineRun(Pipeline* pipeline);

  // Of a fresh or recycled run.
  void Begin(Request* request) EXCLUDES(mu_);
  // Drops all that it holds.
  void Clear() EXCLUDES(mu_);

  void Withdraw() override EXCLUDES(mu_);

  // Whether it has been answered, failed or withdrawn.
  bool ended() EXCLUDES(mu_);

  // Begins what can be begun. The three of them work on `turn`.
  void Advance(Pipeline::Turn& turn) EXCLUDES(mu_);
  // The same after a step's request has come back, successful or not.
  static void StepEnded(Pipeline::Turn& turn, Request* request);

 private:
  enum class StepState : uint8_t { kWaiting, kUnderWay, kOver };
  struct Step {
    PipelineRun* run = nullptr;  // a step's request has the address of this as its tag
    StepState state = StepState::kWaiting;
    RefPtr<Request> request;
  };
  enum class Presence : uint8_t { kUnknown, kThere, kAbsent };
  struct Value {
    Presence presence = Presence::kUnknown;
    size_t makers_left = 0;
    TensorView view;
  };

  void Take(Pipeline::Turn& turn, size_t index, RefPtr<Request> request, std::shared_ptr<void>& kept)
      REQUIRES(mu_);
  Status TakeOutputs(size_t index, const Request& request) REQUIRES(mu_);
  void GoOn(Pipeline::Turn& turn) REQUIRES(mu_);
  Status Look(Pipeline::Turn& turn, size_t index) REQUIRES(mu_);
  Presence InputsOf(size_t index) const REQUIRES(mu_);
  Status Ask(Pipeline::Turn& turn, size_t index) REQUIRES(mu_);
  void End(size_t index) REQUIRES(mu_);
  void Fail(Pipeline::Turn& turn, Status status) REQUIRES(mu_);
  void Answer(Pipeline::Turn& turn) REQUIRES(mu_);
  Status FillDefault(size_t output) REQUIRES(mu_);
  std::string NotMade(size_t output) const;

  Pipeline* const pipeline_;

  Mutex mu_;
  RefPtr<Request> request_ GUARDED_BY(mu_);
  bool ended_ GUARDED_BY(mu_) = false;
  bool features_stale_ GUARDED_BY(mu_) = false;
  size_t over_ GUARDED_BY(mu_) = 0;  // of steps_
  std::vector<Step> steps_ GUARDED_BY(mu_);
  std::vector<Value> values_ GUARDED_BY(mu_);  // by tensor
  std::vector<TensorView> outputs_ GUARDED_BY(mu_);
  std::vector<Buffer> defaults_ GUARDED_BY(mu_);  // by output; of those that no step made
};

}  // namespace falaj

#include "route/pipeline_plan.h"

#include <algorithm>

namespace falaj {

Status PipelinePlan::Check() const {
  if (inputs > tensors.size()) return InvalidInput("a pipeline's plan has fewer tensors than inputs");
  // The last step that makes each; a step needs them all.
  std::vector<size_t> last_maker(tensors.size(), 0);
  std::vector<bool> is_made(tensors.size(), false);
  std::fill_n(is_made.begin(), inputs, true);
  for (size_t s = 0; s < steps.size(); ++s) {
    for (const StepTensor& output : steps[s].outputs) {
      if (output.tensor < inputs || output.tensor >= tensors.size()) {
        return InvalidInput("step '" + steps[s].name + "' makes a tensor that is none");
      }
      last_maker[output.tensor] = s + 1;
      is_made[output.tensor] = true;
    }
  }
  const auto is_ready = [&](size_t tensor, size_t step) {
    return tensor < tensors.size() && is_made[tensor] && last_maker[tensor] <= step;
  };
  for (size_t s = 0; s < steps.size(); ++s) {
    const PipelineStep& step = steps[s];
    bool ready = std::all_of(step.inputs.begin(), step.inputs.end(),
                             [&](const StepTensor& input) { return is_ready(input.tensor, s); });
    if (step.when) {
      const bool is_scalar = is_ready(step.when->tensor, s) &&
                             tensors[step.when->tensor].type != DataType::kBytes &&
                             !step.when->values.empty();
      ready = ready && is_scalar;
    }
    if (!ready) return InvalidInput("step '" + step.name + "' stands before one that it needs");
  }
  const bool all_made = std::all_of(outputs.begin(), outputs.end(), [&](const PipelineOutput& output) {
    return is_ready(output.tensor, steps.size());
  });
  return all_made ? Status::Ok() : InvalidInput("a pipeline's output is made by no step");
}

}  // namespace falaj

// A pipeline as it was validated when it was loaded: models, and which tensor of one goes where. Values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/data_type.h"
#include "core/status.h"
#include "route/step_condition.h"

namespace falaj {

// An input or output of a step's model, and the pipeline's tensor that it is.
struct StepTensor {
  std::string name;
  size_t tensor = 0;
};

struct PipelineStep {
  std::string name;
  std::string model;
  int64_t version = 0;  // 0: the served one, looked up for each request
  std::vector<StepTensor> inputs;
  std::vector<StepTensor> outputs;  // those that are used
  std::optional<StepCondition> when;
};

struct PipelineTensor {
  std::string name;
  DataType type = DataType::kFp32;
};

struct PipelineOutput {
  size_t tensor = 0;
  // Where no step made it: this row, as often as the request has rows. None: the request fails.
  std::optional<std::string> default_row{};
  std::vector<int64_t>
      default_shape{};  // of a row, or of the whole where the pipeline has no batch dimension
};

struct PipelinePlan {
  std::string name;
  int64_t version = 1;
  bool batches = true;                  // the first dimension of its tensors is the request's rows
  std::vector<PipelineTensor> tensors;  // first the pipeline's inputs, in their order
  size_t inputs = 0;
  std::vector<PipelineStep> steps;  // each behind those that make what it needs
  std::vector<PipelineOutput> outputs;
  bool keeps_sequences = false;  // a step's model does: so does the pipeline, and hands each request's on

  // Fails with InvalidInput where an index is out of range, or a step stands before one that it needs.
  Status Check() const;
};

}  // namespace falaj

#include "bind/pipeline.h"

#include <pybind11/stl.h>

#include "bind/errors.h"
#include "bind/gil.h"
#include "bind/model.h"
#include "route/pipeline.h"

namespace falaj {
namespace {

std::vector<StepTensor> ReadTensors(const py::handle& list) {
  std::vector<StepTensor> tensors;
  for (const py::handle item : list) {
    const auto row = item.cast<py::tuple>();
    tensors.push_back({row[0].cast<std::string>(), row[1].cast<size_t>()});
  }
  return tensors;
}

// None, or (tensor, "in" | "not_in" | "below" | "at_least", values)
std::optional<StepCondition> ReadCondition(const py::handle& value) {
  if (value.is_none()) return std::nullopt;
  const auto row = value.cast<py::tuple>();
  StepCondition condition{row[0].cast<size_t>(), StepCondition::Kind::kIn,
                          row[2].cast<std::vector<double>>()};
  const auto kind = row[1].cast<std::string>();
  if (kind == "not_in") {
    condition.kind = StepCondition::Kind::kNotIn;
  } else if (kind == "below") {
    condition.kind = StepCondition::Kind::kBelow;
  } else if (kind == "at_least") {
    condition.kind = StepCondition::Kind::kAtLeast;
  } else if (kind != "in") {
    ThrowIfError(
        InvalidInput("a step's condition: expected in, not_in, below or at_least, got '" + kind + "'"));
  }
  return condition;
}

// tensors: (name, datatype), the pipeline's `inputs` first; steps: (name, model, version or 0, inputs,
// outputs, condition), where inputs and outputs are (name in the model, index of the tensor); outputs: (index
// of the tensor, shape of a default's row, its bytes or None).
PipelinePlan ReadPlan(const py::dict& from) {
  PipelinePlan plan;
  plan.name = from["name"].cast<std::string>();
  plan.version = from["version"].cast<int64_t>();
  plan.batches = from["batches"].cast<bool>();
  plan.inputs = from["inputs"].cast<size_t>();
  plan.keeps_sequences = from["keeps_sequences"].cast<bool>();
  for (const py::handle item : from["tensors"]) {
    const auto row = item.cast<py::tuple>();
    const auto datatype = row[1].cast<std::string>();
    const auto type = ParseDataType(datatype);
    if (!type) ThrowIfError(InvalidInput("no such datatype: '" + datatype + "'"));
    plan.tensors.push_back({row[0].cast<std::string>(), *type});
  }
  for (const py::handle item : from["steps"]) {
    const auto row = item.cast<py::tuple>();
    plan.steps.push_back({row[0].cast<std::string>(), row[1].cast<std::string>(), row[2].cast<int64_t>(),
                          ReadTensors(row[3]), ReadTensors(row[4]), ReadCondition(row[5])});
  }
  for (const py::handle item : from["outputs"]) {
    const auto row = item.cast<py::tuple>();
    PipelineOutput output{row[0].cast<size_t>(), std::nullopt, row[1].cast<std::vector<int64_t>>()};
    if (!row[2].is_none()) output.default_row = row[2].cast<py::bytes>();
    if (output.default_shape.size() >= Shape::kMaxRank) {
      ThrowIfError(Unsupported("a pipeline's default of more than 7 dimensions"));
    }
    plan.outputs.push_back(std::move(output));
  }
  return plan;
}

std::unique_ptr<PyModel> LoadPipeline(const Runtime& runtime, const py::dict& plan, const py::dict& options) {
  const std::shared_ptr<RuntimeCore>& core = runtime.core();
  BatcherOptions read = ReadOptions(options);
  auto pipeline = ValueOrThrow(Pipeline::Make(ReadPlan(plan), &core->table, core->tracing));
  Result<std::shared_ptr<Batcher>> made = Status();
  {
    const GilRelease release;
    made = Batcher::MakeFlow(std::move(read), std::move(pipeline), &core->pool, &core->timer, &core->clock);
  }
  return std::make_unique<PyModel>(runtime, ValueOrThrow(std::move(made)));
}

}  // namespace

void BindPipeline(py::module_& module) {
  module.def("load_pipeline", &LoadPipeline, py::arg("runtime"), py::arg("plan"), py::arg("options"));
}

}  // namespace falaj

#include "bind/sequences.h"

#include <pybind11/stl.h>

#include "backend/sequence_backend.h"
#include "bind/errors.h"
#include "bind/model.h"

namespace falaj {
namespace {

SequenceControl::Kind ReadKind(const std::string& text) {
  if (text == "start") return SequenceControl::Kind::kStart;
  if (text == "end") return SequenceControl::Kind::kEnd;
  if (text == "id") return SequenceControl::Kind::kId;
  if (text != "ready")
    ThrowIfError(InvalidInput("kind: expected start, end, ready or id, got '" + text + "'"));
  return SequenceControl::Kind::kReady;
}

// controls: (kind, input, off, on); states: (input, output, shape, bytes that a sequence begins with, or
// none). Indices are the model's.
PyBackend KeepSequences(PyBackend& model, std::vector<size_t> inputs, std::vector<size_t> outputs,
                        const py::list& controls, const py::list& states, bool batches, bool by_slot,
                        size_t max_state_bytes) {
  SequencePlan plan;
  plan.inputs = std::move(inputs);
  plan.outputs = std::move(outputs);
  plan.batches = batches;
  plan.by_slot = by_slot;
  plan.max_value_bytes = max_state_bytes;
  for (const py::handle item : controls) {
    const auto row = item.cast<py::tuple>();
    plan.controls.push_back({ReadKind(row[0].cast<std::string>()), row[1].cast<size_t>(),
                             row[2].cast<double>(), row[3].cast<double>()});
  }
  for (const py::handle item : states) {
    const auto row = item.cast<py::tuple>();
    const auto dims = row[2].cast<std::vector<int64_t>>();
    if (dims.size() >= Shape::kMaxRank) ThrowIfError(Unsupported("a state has more than 7 dimensions"));
    const auto text = row[3].cast<std::string_view>();
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    plan.values.push_back(
        {row[0].cast<size_t>(), row[1].cast<size_t>(), Shape(dims), {bytes.begin(), bytes.end()}});
  }
  // Checked first: a model that does not fit stays the caller's.
  ThrowIfError(CheckSequencePlan(model.Get().Describe(), plan));
  return PyBackend(NewSequenceBackend(model.Release(), std::move(plan)), model.fallbacks(), model.share());
}

}  // namespace

RequestSequence ReadSequence(const py::object& sequence) {
  RequestSequence read;
  if (sequence.is_none()) return read;
  const auto row = sequence.cast<py::tuple>();
  const py::object id = row[0];
  if (py::isinstance<py::str>(id)) {
    read.id.text = id.cast<std::string>();
  } else {
    read.id.number = PyLong_Check(id.ptr()) ? PyLong_AsUnsignedLongLong(id.ptr()) : 0;
    const bool wrong = PyErr_Occurred() != nullptr || !PyLong_Check(id.ptr());
    PyErr_Clear();
    if (wrong) {
      ThrowIfError(InvalidInput("sequence_id: expected a whole number of 0 or more, or a str, got " +
                                py::repr(id).cast<std::string>()));
    }
  }
  read.start = row[1].cast<bool>();
  read.end = row[2].cast<bool>();
  return read;
}

void BindSequences(py::module_& module) {
  module.def("keep_sequences", &KeepSequences, py::arg("model"), py::arg("inputs"), py::arg("outputs"),
             py::arg("controls"), py::arg("states"), py::arg("batches"), py::arg("by_slot"),
             py::arg("max_state_bytes"));
}

}  // namespace falaj

#include "bind/runtime.h"

#include "bind/errors.h"
#include "bind/gil.h"
#include "bind/model.h"
#include "bind/sequences.h"
#include "core/allocator.h"
#include "core/cpus.h"

namespace falaj {
namespace {

// {name: (version -> Model, serving version or None, why nothing is served, Models that finish sequences)}
void Publish(const Runtime& runtime, const py::dict& models) {
  auto entries = std::make_shared<ModelEntries>();
  for (const auto& [name, value] : models) {
    const auto row = value.cast<py::tuple>();
    ModelEntry entry;
    for (const auto& [version, model] : row[0].cast<py::dict>()) {
      entry.versions[version.cast<int64_t>()] = model.cast<const PyModel&>().batcher();
    }
    if (!row[1].is_none()) entry.serving = entry.versions.at(row[1].cast<int64_t>());
    entry.why_not = row[2].cast<std::string>();
    for (const py::handle model : row[3]) entry.lingering.push_back(model.cast<const PyModel&>().batcher());
    (*entries)[name.cast<std::string>()] = std::move(entry);
  }
  runtime.core()->table.Publish(std::move(entries));
}

}  // namespace

Runtime::Runtime(int cores, py::object convert)
    : core_(std::make_shared<RuntimeCore>(cores)), convert_(std::move(convert)) {}

const std::shared_ptr<RuntimeCore>& Runtime::core() const {
  if (!core_.usable()) {
    ThrowIfError(
        Unavailable("this engine was made before fork() and has no threads here; make one in the child"));
  }
  if (core_.shared() == nullptr) ThrowIfError(Unavailable("this engine is closed"));
  return core_.shared();
}

void Runtime::Close() {
  if (!core_.usable() || core_.shared() == nullptr) return;
  ForkGuarded<RuntimeCore> ended = std::exchange(core_, ForkGuarded<RuntimeCore>());  // under the GIL
  const GilRelease release;
  ended = ForkGuarded<RuntimeCore>();  // joins threads that may want the GIL
}

void BindRuntime(py::module_& module) {
  py::class_<Runtime>(module, "Runtime")
      .def(py::init<int, py::object>(), py::arg("cores"), py::arg("convert"))
      .def("publish", &Publish, py::arg("models"))
      .def(
          "infer",
          [](Runtime& self, const std::string& model, const py::dict& inputs, int64_t version,
             const py::object& timeout, int priority, const py::object& sequence, const py::object& outputs,
             const py::object& out) {
            return self.Infer(model, inputs,
                              {version, DeadlineIn(timeout), priority, ReadSequence(sequence), outputs, out});
          },
          py::arg("model"), py::arg("inputs"), py::arg("version"), py::arg("timeout"), py::arg("priority"),
          py::arg("sequence"), py::arg("outputs"), py::arg("out"))
      .def(
          "infer_many",
          [](Runtime& self, const std::string& model, const py::sequence& requests, int64_t version,
             const py::object& timeout, int priority, const py::object& outputs, bool return_exceptions) {
            return self.InferMany(
                model, requests,
                {version, DeadlineIn(timeout), priority, RequestSequence(), outputs, py::none()},
                return_exceptions);
          },
          py::arg("model"), py::arg("requests"), py::arg("version"), py::arg("timeout"), py::arg("priority"),
          py::arg("outputs"), py::arg("return_exceptions"))
      .def("close", &Runtime::Close);
  module.def("usable_cores", &UsableCores);
  module.def("bound_allocator", &BoundAllocator, py::arg("arenas"));
}

}  // namespace falaj

#include "bind/tracing.h"

#include <pybind11/stl.h>

#include "bind/errors.h"
#include "bind/gil.h"

namespace falaj {
namespace {

// (on, rate, count, parent_based, restart)
TraceRuleSpec ReadRule(const py::handle& from) {
  const auto fields = from.cast<py::tuple>();
  const TraceRuleSpec spec{fields[0].cast<bool>(), fields[1].cast<uint32_t>(), fields[2].cast<int64_t>(),
                           fields[3].cast<bool>(), fields[4].cast<bool>()};
  if (spec.rate == 0) ThrowIfError(InvalidInput("a rule's rate: expected 1 or more, got 0"));
  return spec;
}

}  // namespace

Tracing& PyTracing::Get() const {
  if (!tracing_.usable())
    ThrowIfError(Unavailable("this engine was made before fork(); make one in the child"));
  return *tracing_.get();
}

void PyTracing::Publish(const py::tuple& all, const py::dict& models) {
  TraceRuleSpecs specs;
  specs.all = ReadRule(all);
  for (const auto& [name, rule] : models) specs.models[name.cast<std::string>()] = ReadRule(rule);
  Get().Publish(specs);
}

py::dict PyTracing::Left() const {
  py::dict left;
  for (const auto& [name, count] : Get().Left()) left[py::str(name)] = count;
  return left;
}

void PyTracing::Describe(std::string address, uint16_t http_port, uint16_t grpc_port) {
  Get().Describe({std::move(address), http_port, grpc_port});
}

py::tuple PyTracing::Take(double timeout, size_t most_bytes) {
  Tracing& tracing = Get();
  std::string spans;
  Tracing::Taken taken;
  {
    const GilRelease release;
    taken = tracing.Take(Nanos(static_cast<int64_t>(timeout * 1e9)), most_bytes, spans);
  }
  return py::make_tuple(taken.requests, taken.more, py::bytes(spans));
}

void PyTracing::Wake() { Get().Wake(); }

py::dict PyTracing::Counts() const {
  const Tracing::Counts counts = Get().counts();
  using namespace pybind11::literals;
  return py::dict("recorded"_a = counts.recorded, "dropped"_a = counts.dropped);
}

void BindTracing(py::module_& module) {
  py::class_<PyTracing>(module, "Tracing")
      .def(py::init<const Runtime&>(), py::arg("runtime"))
      .def("publish", &PyTracing::Publish, py::arg("all"), py::arg("models"))
      .def("left", &PyTracing::Left)
      .def("describe", &PyTracing::Describe, py::arg("address"), py::arg("http_port"), py::arg("grpc_port"))
      .def("take", &PyTracing::Take, py::arg("timeout"), py::arg("most_bytes"))
      .def("wake", &PyTracing::Wake)
      .def("counts", &PyTracing::Counts);
}

}  // namespace falaj

#include "bind/windows.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/errors.h"
#include "bind/gil.h"
#include "join/window_sweep.h"

namespace falaj {
namespace {

// No conversion: the caller has made them so.
template <typename T>
using Array = py::array_t<T, py::array::c_style>;
using Mask = std::optional<Array<bool>>;
// Function by number, column or -1, window and tile in microseconds.
using PlainAggregate = std::tuple<int, int, int64_t, int64_t>;

template <typename T>
std::span<const T> SpanOf(const Array<T>& array, const char* what) {
  if (array.ndim() != 1)
    ThrowIfError(InvalidInput(std::string(what) + ": expected an array of one dimension"));
  return {array.data(), static_cast<size_t>(array.size())};
}

std::span<const uint8_t> SpanOf(const Mask& mask, const char* what) {
  if (!mask) return {};
  const std::span<const bool> of = SpanOf(*mask, what);
  return {reinterpret_cast<const uint8_t*>(of.data()), of.size()};  // NumPy's bool is a byte, 0 or 1
}

template <typename T>
py::array ToNumpy(std::vector<T> values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  const T* data = owned->data();
  const auto size = static_cast<py::ssize_t>(owned->size());
  py::capsule owner(owned.get(), [](void* of) { delete static_cast<std::vector<T>*>(of); });
  owned.release();
  return py::array(py::dtype::of<T>(), {size}, {}, data, owner);
}

join::WindowSpec ReadSpec(const py::list& columns, const std::vector<PlainAggregate>& aggregates,
                          int64_t delay) {
  join::WindowSpec spec;
  spec.delay = delay;
  for (const py::handle& column : columns) {
    const auto values = column.cast<py::tuple>()[0];
    spec.columns.push_back(py::isinstance<Array<double>>(values) ? join::Kind::kFloat : join::Kind::kInteger);
  }
  for (const auto& [function, column, window, tile] : aggregates)
    spec.aggregates.push_back({static_cast<join::Function>(function), column, window, tile});
  return spec;
}

py::list SweepArrays(const std::vector<PlainAggregate>& aggregates, int64_t delay,
                     const Array<int64_t>& entity, const Array<int64_t>& event, const Array<int64_t>& known,
                     const Array<int64_t>& sequence, const std::optional<Array<int64_t>>& id,
                     const Mask& id_valid, const py::list& columns, const Array<int64_t>& spine_entity,
                     const Array<int64_t>& spine_time) {
  const join::WindowSpec spec = ReadSpec(columns, aggregates, delay);
  join::EventArrays events;
  events.entity = SpanOf(entity, "entity");
  events.event = SpanOf(event, "event");
  events.known = SpanOf(known, "known");
  events.sequence = SpanOf(sequence, "sequence");
  if (id) events.id = SpanOf(*id, "id");
  events.id_valid = SpanOf(id_valid, "id_valid");
  std::vector<py::object> owners;  // of the columns' memory, while they are read
  for (size_t i = 0; i < columns.size(); ++i) {
    const auto column = columns[i].cast<std::pair<py::object, Mask>>();
    join::ColumnArray array;
    if (spec.columns[i] == join::Kind::kFloat) {
      array.floats = SpanOf(py::cast<Array<double>>(column.first), "column");
    } else if (py::isinstance<Array<int64_t>>(column.first)) {
      array.integers = SpanOf(py::cast<Array<int64_t>>(column.first), "column");
    } else {
      ThrowIfError(InvalidInput("column: expected a contiguous array of float64 or int64"));
    }
    array.valid = SpanOf(column.second, "valid");
    owners.push_back(column.first);
    if (column.second) owners.push_back(*column.second);
    events.columns.push_back(array);
  }
  const join::SpineArrays spine{SpanOf(spine_entity, "spine entity"), SpanOf(spine_time, "spine time")};
  auto swept = [&] {
    const GilRelease release;
    return join::SweepWindows(spec, events, spine);
  }();
  std::vector<join::FeatureArray> features = ValueOrThrow(std::move(swept));
  py::list result;
  for (size_t i = 0; i < features.size(); ++i) {
    py::array values = join::IsFloat(spec, spec.aggregates[i]) ? ToNumpy(std::move(features[i].floats))
                                                               : ToNumpy(std::move(features[i].integers));
    result.append(py::make_tuple(std::move(values), ToNumpy(std::move(features[i].valid))));
  }
  return result;
}

}  // namespace

void BindWindows(py::module_& module) {
  module.def("sweep_windows", &SweepArrays, py::arg("aggregates"), py::arg("delay"),
             py::arg("entity").noconvert(), py::arg("event").noconvert(), py::arg("known").noconvert(),
             py::arg("sequence").noconvert(), py::arg("id").noconvert(), py::arg("id_valid").noconvert(),
             py::arg("columns"), py::arg("spine_entity").noconvert(), py::arg("spine_time").noconvert());
}

}  // namespace falaj

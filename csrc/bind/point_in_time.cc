#include "bind/point_in_time.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bind/errors.h"
#include "join/point_in_time.h"

namespace falaj {
namespace {

// Checked, so that nothing is converted: a copy of what is given would be as large as that.
template <typename T>
std::span<const T> Elements(const py::array& given, const char* what) {
  if (given.ndim() != 1 || !given.dtype().equal(py::dtype::of<T>()) ||
      (given.flags() & py::array::c_style) == 0) {
    ThrowIfError(InvalidInput(std::string(what) + ": expected one dimension of NumPy type " +
                              py::str(py::dtype::of<T>()).template cast<std::string>() +
                              " without gaps, got " + std::to_string(given.ndim()) + " of " +
                              py::str(given.dtype()).template cast<std::string>()));
  }
  return {static_cast<const T*>(given.data()), static_cast<size_t>(given.shape(0))};
}

std::span<const uint8_t> Flags(const py::array& given, const char* what) {
  const std::span<const bool> flags = Elements<bool>(given, what);
  return {reinterpret_cast<const uint8_t*>(flags.data()), flags.size()};
}

py::tuple PointInTime(const py::array& entity, const py::array& event, const py::array& known,
                      const std::optional<py::array>& sequence, const std::optional<py::array>& place,
                      const std::optional<py::array>& deleted, const py::array& spine_entity,
                      const py::array& spine_time, int32_t entities, int64_t delay_us,
                      std::optional<int64_t> ttl_us, unsigned threads) {
  HistoryRows history;
  history.entity = Elements<int32_t>(entity, "entity");
  history.event = Elements<int64_t>(event, "event");
  history.known = Elements<int64_t>(known, "known");
  if (sequence) history.sequence = Elements<int64_t>(*sequence, "sequence");
  if (place) history.place = Elements<int64_t>(*place, "place");
  if (deleted) history.deleted = Flags(*deleted, "deleted");
  const SpineRows spine{Elements<int32_t>(spine_entity, "spine_entity"),
                        Elements<int64_t>(spine_time, "spine_time")};
  const auto rows = static_cast<py::ssize_t>(spine.entity.size());
  py::array_t<int64_t> row(rows);
  py::array_t<uint8_t> status(rows);
  py::array_t<bool> late(rows);
  const JoinAnswers answers{{row.mutable_data(), spine.entity.size()},
                            {status.mutable_data(), spine.entity.size()},
                            {reinterpret_cast<uint8_t*>(late.mutable_data()), spine.entity.size()}};
  Result<std::vector<uint32_t>> tied = Status(Code::kInternal, "");
  {
    const py::gil_scoped_release release;
    tied = JoinPointInTime(history, spine, {delay_us, ttl_us, entities, threads}, answers);
  }
  const std::vector<uint32_t> found = ValueOrThrow(std::move(tied));
  py::array_t<int64_t> rows_tied(static_cast<py::ssize_t>(found.size()));
  std::copy(found.begin(), found.end(), rows_tied.mutable_data());
  return py::make_tuple(row, status, late, rows_tied);
}

}  // namespace

void BindPointInTime(py::module_& module) {
  module.def("point_in_time", &PointInTime, py::arg("entity"), py::arg("event"), py::arg("known"),
             py::arg("sequence"), py::arg("place"), py::arg("deleted"), py::arg("spine_entity"),
             py::arg("spine_time"), py::arg("entities"), py::arg("delay_us"), py::arg("ttl_us"),
             py::arg("threads"));
}

}  // namespace falaj

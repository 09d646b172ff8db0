#include "bind/join.h"

#include <pybind11/stl.h>

#include "bind/errors.h"
#include "bind/model.h"
#include "bind/online_store.h"
#include "bind/served_log.h"
#include "join/cached_view.h"
#include "join/join_backend.h"

namespace falaj {
namespace {

OnMissing ReadOnMissing(const std::string& text) {
  if (text == "nan") return OnMissing::kNan;
  if (text == "reject") return OnMissing::kReject;
  if (text != "default") {
    ThrowIfError(InvalidInput("on_missing: expected default, nan or reject, got '" + text + "'"));
  }
  return OnMissing::kDefault;
}

JoinedColumn ReadColumn(const py::tuple& row) {
  if (py::isinstance<py::int_>(row[0])) return {row[0].cast<size_t>(), "", DataType::kFp32};
  const auto datatype = row[1].cast<std::string>();
  const auto type = ParseDataType(datatype);
  if (!type) ThrowIfError(InvalidInput("no such datatype: '" + datatype + "'"));
  return {std::nullopt, row[0].cast<std::string>(), *type};
}

// A budget and a staleness are of views in shared stores only.
JoinedView ReadView(const py::tuple& row) {
  JoinedView joined{OnlineViewOf(row[0]), ReadOnMissing(row[1].cast<std::string>())};
  if (joined.view->shared() == nullptr) return joined;
  const auto nanos = [](const py::handle& value) { return Nanos(value.cast<int64_t>()); };
  if (!row[2].is_none()) joined.budget = nanos(row[2]);
  const Nanos staleness = nanos(row[3]);
  if (staleness > Nanos::zero()) {
    joined.view = std::make_shared<CachedView>(std::move(joined.view), staleness);
  }
  return joined;
}

// views: (view, on_missing, budget in ns or None, max_staleness in ns); features: (index of the view, column,
// default's bytes or None); inputs: (name, columns), each column (index of the feature,) or (name of a
// request's input, datatype); as_of: whether requests may say as of when they are looked up; log: a ServedLog
// that no other backend has, or None.
PyBackend JoinFeatures(PyBackend& model, const py::list& views, const py::list& features,
                       const py::list& inputs, bool as_of, const PyServedLog* log) {
  JoinRequest request;
  for (const py::handle item : views) {
    request.views.push_back(ReadView(item.cast<py::tuple>()));
  }
  for (const py::handle item : features) {
    const auto row = item.cast<py::tuple>();
    std::optional<std::string> fallback;
    if (!row[2].is_none()) fallback = row[2].cast<std::string>();
    request.features.push_back({row[0].cast<size_t>(), row[1].cast<std::string>(), std::move(fallback)});
  }
  for (const py::handle item : inputs) {
    const auto row = item.cast<py::tuple>();
    JoinedInput input{row[0].cast<std::string>(), {}};
    for (const py::handle column : row[1]) input.columns.push_back(ReadColumn(column.cast<py::tuple>()));
    request.inputs.push_back(std::move(input));
  }
  request.as_of = as_of;
  JoinPlan plan = ValueOrThrow(JoinPlan::Make(request, model.Get().Describe()));
  return PyBackend(NewJoinBackend(std::move(plan), model.Release(), &WallClockMicros,
                                  log == nullptr ? nullptr : log->log()),
                   model.fallbacks(), model.share());
}

}  // namespace

void BindJoin(py::module_& module) {
  module.def("join_features", &JoinFeatures, py::arg("model"), py::arg("views"), py::arg("features"),
             py::arg("inputs"), py::arg("as_of") = false, py::arg("log").none(true) = nullptr);
}

}  // namespace falaj

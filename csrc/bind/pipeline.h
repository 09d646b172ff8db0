// Pipelines as Python loads them.
#pragma once

#include <pybind11/pybind11.h>

namespace falaj {

namespace py = pybind11;

void BindPipeline(py::module_& module);

}  // namespace falaj

// The registry of shared memory, for Python.
#pragma once

#include <pybind11/pybind11.h>

namespace falaj {

namespace py = pybind11;

void BindSharedMemory(py::module_& module);

}  // namespace falaj

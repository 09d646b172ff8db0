// Windowed aggregates over NumPy arrays.
#pragma once

#include <pybind11/pybind11.h>

namespace falaj {

// Adds sweep_windows to the module. REQUIRES: the GIL
void BindWindows(pybind11::module_& module);

}  // namespace falaj

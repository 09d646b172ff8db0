// The point-in-time join as Python sees it.
#pragma once

#include <pybind11/pybind11.h>

namespace falaj {

void BindPointInTime(pybind11::module_& module);

}  // namespace falaj

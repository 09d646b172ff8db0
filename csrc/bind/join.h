// Models that look their features up, as Python makes them.
#pragma once

#include <pybind11/pybind11.h>

namespace falaj {

void BindJoin(pybind11::module_& module);

}  // namespace falaj

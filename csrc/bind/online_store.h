// The online store as Python sees it.
#pragma once

#include <pybind11/pybind11.h>

namespace falaj {

void BindOnlineStore(pybind11::module_& module);

}  // namespace falaj

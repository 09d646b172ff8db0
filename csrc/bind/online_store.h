// The online store as Python sees it.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "join/online_store.h"

namespace falaj {

// Of a Python OnlineView. Throws Unavailable where it is of another process. REQUIRES: the GIL
std::shared_ptr<OnlineView> OnlineViewOf(const pybind11::handle& view);

void BindOnlineStore(pybind11::module_& module);

}  // namespace falaj

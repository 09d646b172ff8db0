// The network front end's configuration as Python gives it.
#pragma once

#include <pybind11/pybind11.h>

#include "wire/wire_options.h"

namespace falaj {

namespace py = pybind11;

// A flat dict of field names ("http.max_body_bytes"); durations in seconds, `shared_memory` a SharedMemory.
// Fields that are not named keep their defaults. Throws InvalidInput for an unknown name or a value of
// another type.
wire::WireOptions ReadWireOptions(const py::dict& from);

}  // namespace falaj

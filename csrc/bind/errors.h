// The one table from Status to Python exception.
#pragma once

#include <pybind11/pybind11.h>

#include "core/status.h"

namespace falaj {

namespace py = pybind11;

// Adds the exception types to the module: Error and its sub-types, one per Code.
void BindErrors(py::module_& module);

// An exception object for a failed status. REQUIRES: the GIL; !status.ok()
py::object ToException(const Status& status);

// Throws `status` as its Python exception if it failed. REQUIRES: the GIL
void ThrowIfError(const Status& status);

// The Code of a raised Python exception: that of our own types, kInternal for others. REQUIRES: the GIL
Code CodeOf(const py::error_already_set& error);

template <typename T>
T ValueOrThrow(Result<T> result) {
  if (!result.ok()) ThrowIfError(result.status());
  return std::move(result).value();
}

}  // namespace falaj

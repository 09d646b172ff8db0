// Reads tensors that other libraries export by the DLPack protocol (PyTorch, CuPy, JAX ...).
#pragma once

#include <string>

#include "bind/arrays.h"

namespace falaj {

// Whether the object takes part in the protocol. REQUIRES: the GIL
bool HasDlpack(const py::handle& value);

// Imports a tensor without a copy where it lies in this machine's memory, asking its library for a copy there
// where it does not. Throws InvalidInput, prefixed by `where`. REQUIRES: the GIL
InputTensor ReadDlpack(const py::handle& value, const std::string& where);

}  // namespace falaj

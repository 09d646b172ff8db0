// Stateful models: the backend that keeps the states of sequences, as Python makes one.
#pragma once

#include <pybind11/pybind11.h>

#include "core/request_sequence.h"

namespace falaj {

// None, or (id, start, end); the id a whole number of 0 to 2**64 - 1 or a str. Throws InvalidInput.
RequestSequence ReadSequence(const pybind11::object& sequence);

void BindSequences(pybind11::module_& module);

}  // namespace falaj

// NumPy arrays and other Python values as tensors, and tensors as NumPy arrays.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string_view>
#include <vector>

#include "batch/batcher.h"
#include "core/tensor.h"

namespace falaj {

namespace py = pybind11;

// All of this file REQUIRES the GIL.

std::optional<DataType> FromNumpyType(const py::dtype& dtype);
py::dtype ToNumpyType(DataType type);

// One input of a request, as the caller gave it.
struct InputTensor {
  DataType type;
  Shape shape;
  py::object owner;                        // keeps the memory below
  const void* ready = nullptr;             // row-major, native, aligned; or
  py::array strided;                       // to be copied element by element; or
  std::vector<std::string_view> elements;  // BYTES, characters held by owner
  size_t payload_bytes = 0;                // sum of the characters
};

// Reads `value` as input `spec`. `convert(value, datatype)` turns lists and scalars into an array. Throws
// InvalidInput, prefixed by `where`, for values of another type.
InputTensor ReadInput(const py::handle& value, const TensorSpec& spec, const py::object& convert,
                      const std::string& where);

// Writes `input` to `view`, which has its type and shape; the characters of BYTES go to `payload`, which is
// advanced. One copy.
void CopyInput(const InputTensor& input, const TensorView& view, std::byte*& payload);

// An array that owns a copy of `view`; BYTES become an object array of bytes.
py::array ToArray(const TensorView& view);

// Copies `view` into the caller's array. Throws InvalidInput, prefixed by `where`, where it does not fit.
void CopyToArray(const TensorView& view, const py::handle& out, const std::string& where);

}  // namespace falaj

#include "bind/arrays.h"

#include <cstring>

#include "bind/dlpack.h"
#include "bind/errors.h"

namespace falaj {
namespace {

bool IsBfloat16(const py::dtype& dtype) {
  return dtype.itemsize() == 2 && dtype.kind() == 'V' && dtype.attr("name").cast<std::string>() == "bfloat16";
}

Shape ShapeOf(const py::array& array, const std::string& where) {
  if (static_cast<size_t>(array.ndim()) > Shape::kMaxRank) {
    ThrowIfError(InvalidInput(where + "expected at most 8 dimensions, got " + std::to_string(array.ndim())));
  }
  std::array<int64_t, Shape::kMaxRank> dims{};
  for (py::ssize_t i = 0; i < array.ndim(); ++i) dims[static_cast<size_t>(i)] = array.shape(i);
  return Shape(std::span<const int64_t>(dims.data(), static_cast<size_t>(array.ndim())));
}

// BYTES from an array of Python strings or bytes, in row-major order.
InputTensor ReadStrings(const py::array& array, const std::string& where) {
  InputTensor input;
  input.type = DataType::kBytes;
  input.shape = ShapeOf(array, where);
  // Object arrays already hold Python strings; fixed-width ones ('S', 'U') are unpacked into such an array.
  const py::array objects = array.attr("astype")("O", py::arg("order") = "C", py::arg("copy") = false);
  input.owner = objects;
  input.elements.reserve(static_cast<size_t>(objects.size()));
  auto* const* items = static_cast<PyObject* const*>(objects.data());
  for (py::ssize_t i = 0; i < objects.size(); ++i) {
    char* characters = nullptr;
    Py_ssize_t length = 0;
    if (PyBytes_Check(items[i])) {
      PyBytes_AsStringAndSize(items[i], &characters, &length);
    } else if (PyUnicode_Check(items[i])) {
      characters = const_cast<char*>(PyUnicode_AsUTF8AndSize(items[i], &length));
      if (characters == nullptr) {
        PyErr_Clear();  // a lone surrogate
        ThrowIfError(InvalidInput(where + "element " + std::to_string(i) + " cannot be encoded as UTF-8"));
      }
    } else {
      ThrowIfError(InvalidInput(where + "expected str or bytes at element " + std::to_string(i) + ", got " +
                                Py_TYPE(items[i])->tp_name));
    }
    input.elements.emplace_back(characters, static_cast<size_t>(length));
    input.payload_bytes += static_cast<size_t>(length);
  }
  return input;
}

InputTensor ReadArray(const py::array& array, const std::string& where) {
  const py::dtype dtype = array.dtype();
  const auto type = FromNumpyType(dtype);
  if (!type) {
    ThrowIfError(InvalidInput(where + "NumPy type " + py::str(dtype).cast<std::string>() +
                              " is not one of the protocol's data types"));
  }
  if (*type == DataType::kBytes) return ReadStrings(array, where);
  InputTensor input;
  input.type = *type;
  input.shape = ShapeOf(array, where);
  input.owner = array;
  constexpr int kReady =
      py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  const char order = dtype.byteorder();
  if ((array.flags() & kReady) == kReady && order != '>') {
    input.ready = array.data();
  } else {
    input.strided = array;
  }
  return input;
}

}  // namespace

std::optional<DataType> FromNumpyType(const py::dtype& dtype) {
  const auto size = dtype.itemsize();
  switch (dtype.kind()) {
    case 'b':
      return DataType::kBool;
    case 'i':
      return size == 8   ? std::optional(DataType::kInt64)
             : size == 4 ? std::optional(DataType::kInt32)
             : size == 2 ? std::optional(DataType::kInt16)
             : size == 1 ? std::optional(DataType::kInt8)
                         : std::nullopt;
    case 'u':
      return size == 8   ? std::optional(DataType::kUint64)
             : size == 4 ? std::optional(DataType::kUint32)
             : size == 2 ? std::optional(DataType::kUint16)
             : size == 1 ? std::optional(DataType::kUint8)
                         : std::nullopt;
    case 'f':
      return size == 4   ? std::optional(DataType::kFp32)
             : size == 8 ? std::optional(DataType::kFp64)
             : size == 2 ? std::optional(DataType::kFp16)
                         : std::nullopt;
    case 'O':
    case 'S':
    case 'U':
      return DataType::kBytes;
    default:
      return IsBfloat16(dtype) ? std::optional(DataType::kBf16) : std::nullopt;
  }
}

py::dtype ToNumpyType(DataType type) {
  switch (type) {
    case DataType::kBool:
      return py::dtype::of<bool>();
    case DataType::kUint8:
      return py::dtype::of<uint8_t>();
    case DataType::kUint16:
      return py::dtype::of<uint16_t>();
    case DataType::kUint32:
      return py::dtype::of<uint32_t>();
    case DataType::kUint64:
      return py::dtype::of<uint64_t>();
    case DataType::kInt8:
      return py::dtype::of<int8_t>();
    case DataType::kInt16:
      return py::dtype::of<int16_t>();
    case DataType::kInt32:
      return py::dtype::of<int32_t>();
    case DataType::kInt64:
      return py::dtype::of<int64_t>();
    case DataType::kFp16:
      return py::dtype(py::detail::npy_api::NPY_FLOAT_ + 12);  // NPY_HALF, which pybind11 has no name for
    case DataType::kBf16:
      return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
    case DataType::kFp32:
      return py::dtype::of<float>();
    case DataType::kFp64:
      return py::dtype::of<double>();
    case DataType::kBytes:
      break;
  }
  return py::dtype(py::detail::npy_api::NPY_OBJECT_);
}

InputTensor ReadInput(const py::handle& value, const TensorSpec& spec, const py::object& convert,
                      const std::string& where) {
  InputTensor input;
  if (py::isinstance<py::array>(value)) {
    input = ReadArray(py::reinterpret_borrow<py::array>(value), where);
  } else if (HasDlpack(value)) {
    input = ReadDlpack(value, where);
  } else {
    py::object array;
    try {
      array = convert(value, DataTypeName(spec.type));
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_ValueError) && !error.matches(PyExc_TypeError)) throw;
      ThrowIfError(InvalidInput(where + "expected " + spec.ToString() + ", got a value that does not fit: " +
                                py::str(error.value()).cast<std::string>()));
    }
    input = ReadArray(array.cast<py::array>(), where);
  }
  if (input.type != spec.type) {
    ThrowIfError(InvalidInput(where + "expected " + spec.ToString() + ", got " + DataTypeName(input.type) +
                              " " + input.shape.ToString()));
  }
  return input;
}

void CopyInput(const InputTensor& input, const TensorView& view, std::byte*& payload) {
  if (input.type == DataType::kBytes) {
    auto* elements = static_cast<std::string_view*>(view.data);
    for (size_t i = 0; i < input.elements.size(); ++i) {
      const std::string_view from = input.elements[i];
      if (!from.empty()) std::memcpy(payload, from.data(), from.size());
      elements[i] = {reinterpret_cast<const char*>(payload), from.size()};
      payload += from.size();
    }
  } else if (input.ready != nullptr) {
    if (const size_t bytes = view.bytes(); bytes > 0) std::memcpy(view.data, input.ready, bytes);
  } else {
    // NumPy copies any strides and byte order straight into our memory; the base only keeps it from copying.
    const std::vector<py::ssize_t> shape(view.shape.dims().begin(), view.shape.dims().end());
    py::array target(ToNumpyType(view.type), shape, view.data, py::none());
    if (py::detail::npy_api::get().PyArray_CopyInto_(target.ptr(), input.strided.ptr()) != 0) {
      throw py::error_already_set();
    }
  }
}

py::array ToArray(const TensorView& view) {
  const std::vector<py::ssize_t> shape(view.shape.dims().begin(), view.shape.dims().end());
  py::array array(ToNumpyType(view.type), shape);
  if (view.type != DataType::kBytes) {
    if (const size_t bytes = view.bytes(); bytes > 0) std::memcpy(array.mutable_data(), view.data, bytes);
    return array;
  }
  const auto* elements = static_cast<const std::string_view*>(view.data);
  auto** items = static_cast<PyObject**>(array.mutable_data());
  for (py::ssize_t i = 0; i < array.size(); ++i) {
    PyObject* item =
        PyBytes_FromStringAndSize(elements[i].data(), static_cast<Py_ssize_t>(elements[i].size()));
    if (item == nullptr) throw py::error_already_set();
    Py_XDECREF(items[i]);  // NumPy fills new object arrays with None
    items[i] = item;
  }
  return array;
}

void CopyToArray(const TensorView& view, const py::handle& out, const std::string& where) {
  if (!py::isinstance<py::array>(out)) ThrowIfError(InvalidInput(where + "expected a NumPy array to fill"));
  py::array array = py::reinterpret_borrow<py::array>(out);
  const auto type = FromNumpyType(array.dtype());
  const Shape shape = ShapeOf(array, where);
  if (type != view.type || !(shape == view.shape) || !array.writeable()) {
    ThrowIfError(InvalidInput(where + "expected a writeable " + DataTypeName(view.type) + " " +
                              view.shape.ToString() + " to fill, got " +
                              (type ? DataTypeName(*type) : py::str(array.dtype()).cast<std::string>()) +
                              " " + shape.ToString() + (array.writeable() ? "" : " (read-only)")));
  }
  if (view.type != DataType::kBytes && (array.flags() & py::array::c_style) != 0) {
    if (const size_t bytes = view.bytes(); bytes > 0) std::memcpy(array.mutable_data(), view.data, bytes);
    return;
  }
  const py::array result = ToArray(view);
  if (py::detail::npy_api::get().PyArray_CopyInto_(array.ptr(), result.ptr()) != 0) {
    throw py::error_already_set();
  }
}

}  // namespace falaj

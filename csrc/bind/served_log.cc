#include "bind/served_log.h"

#include <pybind11/numpy.h>

#include <cstring>

#include "bind/arrays.h"
#include "bind/errors.h"

namespace falaj {
namespace {

// Reads `size` bytes and moves behind them.
const std::byte* Next(const std::byte*& at, size_t size) {
  const std::byte* found = at;
  at += size;
  return found;
}

// What no UTF-8 can tell is replaced: Parquet has no other text.
py::object NextText(const std::byte*& at) {
  uint32_t length = 0;
  std::memcpy(&length, Next(at, sizeof(length)), sizeof(length));
  const auto* characters = reinterpret_cast<const char*>(Next(at, length));
  PyObject* text = PyUnicode_DecodeUTF8(characters, static_cast<Py_ssize_t>(length), "replace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(text);
}

}  // namespace

PyServedLog::PyServedLog(int64_t capacity, uint32_t per_million) {
  if (capacity <= 0) {
    ThrowIfError(InvalidInput("capacity: expected above 0, got " + std::to_string(capacity)));
  }
  log_ = ForkGuarded<ServedLog>(std::make_shared<ServedLog>(static_cast<size_t>(capacity), per_million));
}

ServedLog& PyServedLog::Get() const {
  if (!log_.usable()) ThrowIfError(Unavailable("a log of what was served cannot be used after fork()"));
  return *log_.get();
}

py::object PyServedLog::Take() {
  ServedLog& log = Get();
  const ServedRows& rows = log.Take();
  if (rows.count == 0) return py::none();
  const std::vector<DataType>& fields = log.fields();
  std::vector<py::array> arrays;
  for (const DataType type : fields) {
    arrays.emplace_back(ToNumpyType(type), std::vector<py::ssize_t>{static_cast<py::ssize_t>(rows.count)});
  }
  const std::byte* at = rows.bytes.data();
  for (size_t row = 0; row < rows.count; ++row) {
    for (size_t f = 0; f < fields.size(); ++f) {
      if (fields[f] == DataType::kBytes) {
        auto** items = static_cast<PyObject**>(arrays[f].mutable_data());
        Py_XSETREF(items[row], NextText(at).release().ptr());
        continue;
      }
      const size_t size = ElementSize(fields[f]);
      std::memcpy(static_cast<std::byte*>(arrays[f].mutable_data()) + row * size, Next(at, size), size);
    }
  }
  py::list list;
  for (const py::array& array : arrays) list.append(array);
  return list;
}

void BindServedLog(py::module_& module) {
  py::class_<PyServedLog>(module, "ServedLog")
      .def(py::init<int64_t, uint32_t>(), py::arg("capacity"), py::arg("per_million"))
      .def("take", &PyServedLog::Take)
      .def_property_readonly("dropped", &PyServedLog::dropped)
      .def_property_readonly("in_use", &PyServedLog::in_use);
}

}  // namespace falaj

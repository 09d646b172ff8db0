#include "bind/errors.h"

#include <array>

namespace falaj {
namespace {

struct Row {
  Code code;
  const char* name;
  PyObject** also;  // the built-in exception that it is, too
  const char* doc;
};

const std::array<Row, 7>& Rows() {
  static const std::array<Row, 7> rows = {{
      {Code::kInvalidInput, "InvalidInput", &PyExc_ValueError,
       "The request can never be answered: wrong name, type, shape or value."},
      {Code::kNotFound, "NotFound", &PyExc_LookupError, "No such model or version."},
      {Code::kUnavailable, "Unavailable", nullptr,
       "Not now: queue full, overloaded, unloaded or closed. May succeed later or elsewhere."},
      {Code::kDeadlineExceeded, "DeadlineExceeded", &PyExc_TimeoutError,
       "The deadline passed, or cannot be met."},
      {Code::kCancelled, "Cancelled", nullptr, "The request was withdrawn."},
      {Code::kUnsupported, "Unsupported", nullptr, "Not something this build or this model can do."},
      {Code::kInternal, "InternalError", &PyExc_RuntimeError, "The model failed, or a bug in Falaj."},
  }};
  return rows;
}

// Filled once by BindErrors and kept for the life of the process, like the module itself.
std::array<PyObject*, 8>& Types() {
  static std::array<PyObject*, 8> types{};
  return types;
}

}  // namespace

void BindErrors(py::module_& module) {
  PyObject* base =
      PyErr_NewExceptionWithDoc("falaj.Error", "Base of all of Falaj's exceptions.", nullptr, nullptr);
  if (base == nullptr) throw py::error_already_set();
  module.add_object("Error", base);
  for (const Row& row : Rows()) {
    const py::object bases = row.also == nullptr
                                 ? py::object(py::make_tuple(py::handle(base)))
                                 : py::object(py::make_tuple(py::handle(base), py::handle(*row.also)));
    const std::string name = std::string("falaj.") + row.name;
    PyObject* type = PyErr_NewExceptionWithDoc(name.c_str(), row.doc, bases.ptr(), nullptr);
    if (type == nullptr) throw py::error_already_set();
    Types()[static_cast<size_t>(row.code)] = type;
    module.add_object(row.name, type);
  }
}

py::object ToException(const Status& status) {
  const py::handle type = Types()[static_cast<size_t>(status.code())];
  return type(status.message());
}

void ThrowIfError(const Status& status) {
  if (status.ok()) return;
  PyErr_SetString(Types()[static_cast<size_t>(status.code())], status.message().c_str());
  throw py::error_already_set();
}

Code CodeOf(const py::error_already_set& error) {
  for (const Row& row : Rows()) {
    if (error.matches(Types()[static_cast<size_t>(row.code)])) return row.code;
  }
  return Code::kInternal;
}

}  // namespace falaj

#include "bind/python_answer.h"

#include <string>
#include <string_view>

#include "bind/arrays.h"

namespace falaj {
namespace {

// An output's bytes, copied out of Python so that they can be dropped on any thread.
struct OutputMemory {
  Buffer buffer;
  std::vector<std::string_view> elements;
};

// Copies what the model returned for `spec` into the batch's row block, or into memory of its own.
Status TakeOutput(const py::handle& value, const TensorSpec& spec, TensorView& view,
                  std::vector<std::shared_ptr<void>>& owners) {
  const InputTensor output =
      ReadInput(value, spec, py::module_::import("numpy").attr("asarray"), "output '" + spec.name + "': ");
  bool declared = spec.shape.size() == output.shape.rank();
  for (size_t i = 0; declared && i < spec.shape.size(); ++i) {
    declared = spec.shape[i] < 0 || spec.shape[i] == output.shape[i];
  }
  if (!declared) {
    return Internal("output '" + spec.name + "': expected " + spec.ToString() + ", the model gave " +
                    output.shape.ToString());
  }
  if (view.data != nullptr && !(view.shape == output.shape)) {
    return Internal("output '" + spec.name + "': expected shape " + view.shape.ToString() +
                    ", the model gave " + output.shape.ToString());
  }
  std::byte* payload = nullptr;
  if (view.data == nullptr) {
    auto memory = std::make_shared<OutputMemory>();
    view.shape = output.shape;
    FALAJ_RETURN_IF_ERROR(memory->buffer.Reserve(view.bytes() + output.payload_bytes));
    view.data = memory->buffer.data();
    payload = memory->buffer.data() + view.bytes();
    owners.push_back(std::move(memory));
  }
  CopyInput(output, view, payload);
  return Status::Ok();
}

}  // namespace

Status TakeAnswer(const py::object& answer, const char* how, const std::vector<TensorSpec>& specs,
                  std::span<TensorView> outputs, std::vector<std::shared_ptr<void>>& owners) {
  if (!py::isinstance<py::dict>(answer)) {
    return Internal(std::string("the Python model's ") + how +
                    py::str(py::type::of(answer)).cast<std::string>() + ", expected a dict of arrays");
  }
  try {
    for (size_t i = 0; i < outputs.size(); ++i) {
      PyObject* value = PyDict_GetItemString(answer.ptr(), specs[i].name.c_str());
      if (value == nullptr) {
        return Internal("the Python model's answer has no output '" + specs[i].name + "'");
      }
      FALAJ_RETURN_IF_ERROR(TakeOutput(value, specs[i], outputs[i], owners));
    }
    return Status::Ok();
  } catch (py::error_already_set& error) {
    return Internal("the Python model's answer: " + py::str(error.value()).cast<std::string>());
  }
}

Status PutAnswer(const py::object& answer, const std::vector<TensorSpec>& specs, AnswerStream& answers) {
  std::vector<TensorView> outputs;
  for (const TensorSpec& spec : specs) outputs.push_back({spec.type, {}, nullptr});
  std::vector<std::shared_ptr<void>> owners;
  FALAJ_RETURN_IF_ERROR(TakeAnswer(answer, "stream yielded ", specs, outputs, owners));
  const py::gil_scoped_release release;
  return answers.Put(outputs, std::move(owners)) ? Status::Ok() : Cancelled("nobody wants more answers");
}

}  // namespace falaj

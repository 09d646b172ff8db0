#include "bind/python_backend.h"

#include <cstring>
#include <string_view>

#include "bind/arrays.h"
#include "bind/errors.h"

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

class PythonInstance final : public Instance {
 public:
  PythonInstance(const ModelSignature* signature, bool streams, py::object model)
      : signature_(signature), streams_(streams), model_(std::move(model)) {}
  ~PythonInstance() override {
    const py::gil_scoped_acquire gil;
    model_ = py::object();
  }

  Status Run(const BatchIo& io) override {
    const py::gil_scoped_acquire gil;
    try {
      return streams_ ? StreamUnderGil(io) : RunUnderGil(io);
    } catch (py::error_already_set& error) {
      const Code code = CodeOf(error);
      return {code, std::string("the Python model raised ") + error.what()};
    } catch (const std::exception& error) {
      return Internal(std::string("the Python model's answer could not be read: ") + error.what());
    }
  }

 private:
  py::dict BatchOf(const BatchIo& io) const {
    py::dict batch;
    for (size_t i = 0; i < io.inputs.size(); ++i) {
      batch[py::str(signature_->inputs[i].name)] = ToArray(io.inputs[i]);
    }
    return batch;
  }

  Status RunUnderGil(const BatchIo& io) {
    const py::object answer = model_.attr("infer")(BatchOf(io));
    return Take(answer, "infer returned ", io.outputs, *io.owners);
  }

  // Each thing that the model yields is an answer. However it ends, the generator is closed, so that what its
  // `finally` does is done now.
  Status StreamUnderGil(const BatchIo& io) {
    const py::object answers = py::iter(model_.attr("stream")(BatchOf(io)));
    Status status;
    bool wanted = true;
    while (wanted && status.ok()) {
      const auto answer = py::reinterpret_steal<py::object>(PyIter_Next(answers.ptr()));
      if (!answer) break;
      std::vector<TensorView> outputs;
      for (const TensorSpec& spec : signature_->outputs) outputs.push_back({spec.type, {}, nullptr});
      std::vector<std::shared_ptr<void>> owners;
      status = Take(answer, "stream yielded ", outputs, owners);
      if (!status.ok()) break;
      const py::gil_scoped_release release;
      wanted = io.members[0].answers->Put(outputs, std::move(owners));
    }
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    if (py::hasattr(answers, "close")) answers.attr("close")();
    if (!wanted) return Cancelled("nobody wants more answers");
    return status;
  }

  // `answer` is what the model gave for `outputs`.
  Status Take(const py::object& answer, const char* how, std::span<TensorView> outputs,
              std::vector<std::shared_ptr<void>>& owners) const {
    if (!py::isinstance<py::dict>(answer)) {
      return Internal(std::string("the Python model's ") + how +
                      py::str(py::type::of(answer)).cast<std::string>() + ", expected a dict of arrays");
    }
    try {
      return TakeOutputs(py::reinterpret_borrow<py::dict>(answer), outputs, owners);
    } catch (py::error_already_set& error) {
      // A wrong answer is the model's fault, never the request's.
      return Internal("the Python model's answer: " + py::str(error.value()).cast<std::string>());
    }
  }

  Status TakeOutputs(const py::dict& answer, std::span<TensorView> outputs,
                     std::vector<std::shared_ptr<void>>& owners) const {
    for (size_t i = 0; i < outputs.size(); ++i) {
      const TensorSpec& spec = signature_->outputs[i];
      PyObject* value = PyDict_GetItemString(answer.ptr(), spec.name.c_str());
      if (value == nullptr) return Internal("the Python model's answer has no output '" + spec.name + "'");
      FALAJ_RETURN_IF_ERROR(TakeOutput(value, spec, outputs[i], owners));
    }
    return Status::Ok();
  }

  const ModelSignature* const signature_;
  const bool streams_;
  py::object model_;
};

class PythonBackend final : public Backend {
 public:
  PythonBackend(ModelSignature signature, py::object factory, bool streams)
      : signature_(std::move(signature)), streams_(streams), factory_(std::move(factory)) {}
  ~PythonBackend() override {
    const py::gil_scoped_acquire gil;
    factory_ = py::object();
  }

  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    const py::gil_scoped_acquire gil;
    try {
      return std::unique_ptr<Instance>(std::make_unique<PythonInstance>(&signature_, streams_, factory_()));
    } catch (py::error_already_set& error) {
      return Status(CodeOf(error), std::string("the Python model could not be loaded: ") + error.what());
    }
  }
  size_t MemoryUsed() const override { return 0; }
  std::string Placement() const override { return "python"; }

 private:
  const ModelSignature signature_;
  const bool streams_;
  py::object factory_;
};

}  // namespace

std::unique_ptr<Backend> NewPythonBackend(ModelSignature signature, py::object factory, bool streams) {
  return std::make_unique<PythonBackend>(std::move(signature), std::move(factory), streams);
}

}  // namespace falaj

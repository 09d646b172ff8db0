#include "bind/python_backend.h"

#include <sys/eventfd.h>

#include "bind/answer_writer.h"
#include "bind/arrays.h"
#include "bind/errors.h"
#include "bind/python_answer.h"
#include "core/file_descriptor.h"

namespace falaj {
namespace {

// Whether `value` is what an `async def` gives: a coroutine or the like, or an asynchronous generator.
bool IsAwaitable(const py::object& value) { return py::hasattr(value, "__await__"); }
bool IsAsyncIterable(const py::object& value) { return py::hasattr(value, "__aiter__"); }

class PythonInstance final : public Instance {
 public:
  PythonInstance(const ModelSignature* signature, bool streams, py::object loop, py::object model)
      : signature_(signature), streams_(streams), loop_(std::move(loop)), model_(std::move(model)) {}
  ~PythonInstance() override {
    const py::gil_scoped_acquire gil;
    model_ = py::object();
    loop_ = py::object();
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
    py::object answer = model_.attr("infer")(BatchOf(io));
    if (!py::isinstance<py::dict>(answer) && IsAwaitable(answer)) answer = loop_.attr("wait")(answer);
    return TakeAnswer(answer, "infer returned ", signature_->outputs, io.outputs, *io.owners);
  }

  // Each thing that the model yields is an answer. However it ends, the generator is closed, so that what its
  // `finally` does is done now.
  Status StreamUnderGil(const BatchIo& io) {
    AnswerStream& stream = *io.members[0].answers;
    const py::object given = model_.attr("stream")(BatchOf(io));
    if (IsAsyncIterable(given) || IsAwaitable(given)) return StreamOnLoop(given, stream);
    const py::object answers = py::iter(given);
    Status status;
    while (status.ok()) {
      const auto answer = py::reinterpret_steal<py::object>(PyIter_Next(answers.ptr()));
      if (!answer) break;
      status = PutAnswer(answer, signature_->outputs, stream);
    }
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    if (py::hasattr(answers, "close")) answers.attr("close")();
    return status;
  }

  // The same on the model's event loop, for which this thread waits.
  Status StreamOnLoop(const py::object& given, AnswerStream& stream) {
    if (!changes_.valid()) changes_ = FileDescriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!changes_.valid()) return Unavailable("no file descriptor is left for a stream's wake-ups");
    const py::object writer = py::cast(std::make_unique<AnswerWriter>(signature_, &stream, changes_.get()));
    auto& written = writer.cast<AnswerWriter&>();
    bool to_its_end = false;
    try {
      to_its_end = loop_.attr("stream")(given, writer).cast<bool>();
    } catch (...) {
      written.Close();
      throw;
    }
    written.Close();
    if (!to_its_end && written.status().ok()) return Cancelled("nobody wants more answers");
    return written.status();
  }

  const ModelSignature* const signature_;
  const bool streams_;
  py::object loop_, model_;
  FileDescriptor changes_;  // an eventfd, of the answers to the request that is run
};

class PythonBackend final : public Backend {
 public:
  PythonBackend(ModelSignature signature, py::object factory, py::object loop, bool streams)
      : signature_(std::move(signature)),
        streams_(streams),
        factory_(std::move(factory)),
        loop_(std::move(loop)) {}
  ~PythonBackend() override {
    const py::gil_scoped_acquire gil;
    try {
      loop_.attr("close")();
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("the end of a Python model's event loop");
    }
    factory_ = py::object();
    loop_ = py::object();
  }

  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    const py::gil_scoped_acquire gil;
    try {
      return std::unique_ptr<Instance>(
          std::make_unique<PythonInstance>(&signature_, streams_, loop_, factory_()));
    } catch (py::error_already_set& error) {
      return Status(CodeOf(error), std::string("the Python model could not be loaded: ") + error.what());
    }
  }
  size_t MemoryUsed() const override { return 0; }
  std::string Placement() const override { return "python"; }

 private:
  const ModelSignature signature_;
  const bool streams_;
  py::object factory_, loop_;
};

}  // namespace

std::unique_ptr<Backend> NewPythonBackend(ModelSignature signature, py::object factory, py::object loop,
                                          bool streams) {
  return std::make_unique<PythonBackend>(std::move(signature), std::move(factory), std::move(loop), streams);
}

}  // namespace falaj

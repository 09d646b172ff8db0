// The blocking calls of Runtime: arguments in, wait, arrays out.
#include <algorithm>
#include <cmath>

#include "bind/errors.h"
#include "bind/gil.h"
#include "bind/runtime.h"

namespace falaj {
namespace {

// From here on a tensor is run where it lies, rather than copied into the batch's rows.
constexpr size_t kAttachBytes = 64 * 1024;
// So many shapes need no memory of their own.
constexpr size_t kFewInputs = 64;
// How long a blocking call may keep Ctrl-C waiting.
constexpr Nanos kSignalCheck = std::chrono::milliseconds(100);

// Waits on the calling thread's stack for one or more requests.
class Waiter final : public CompletionSink {
 public:
  void Deliver(std::span<Request* const> done) override {
    MutexLock lock(mu_);
    delivered_ += done.size();
    all_.NotifyOne();  // under the lock: the waiter may be gone right after it
  }
  // True once `count` requests have been delivered, false at `until`.
  bool WaitUntil(size_t count, TimePoint until) {
    MutexLock lock(mu_);
    while (delivered_ < count) {
      if (std::chrono::steady_clock::now() >= until) return false;
      all_.WaitUntil(mu_, until);
    }
    return true;
  }

 private:
  Mutex mu_;
  CondVar all_;
  size_t delivered_ GUARDED_BY(mu_) = 0;
};

// A non-owning handle: the waiter stays on the stack until all of its requests were delivered.
std::shared_ptr<CompletionSink> Borrow(Waiter& waiter) { return {std::shared_ptr<void>(), &waiter}; }

std::string Where(const Batcher& batcher, const TensorSpec& spec, const char* kind) {
  const BatcherOptions& options = batcher.options();
  return "model '" + options.model + "' version " + std::to_string(options.version) + ", " + kind + " '" +
         spec.name + "': ";
}

std::string Names(const std::vector<TensorSpec>& specs) {
  std::string text;
  for (const TensorSpec& spec : specs) text += (text.empty() ? "'" : ", '") + spec.name + "'";
  return text;
}

// Appends to `given` which of the inputs that may be left out are there; the others have a shape and no data.
std::vector<InputTensor> ReadInputs(const Batcher& batcher, const py::dict& inputs, const py::object& convert,
                                    std::vector<size_t>& given) {
  const auto& specs = batcher.signature().inputs;
  const size_t needed = inputs.size() == batcher.required_inputs() ? inputs.size() : specs.size();
  size_t absent = specs.size() - needed;
  std::vector<InputTensor> tensors;
  tensors.reserve(specs.size());
  for (const TensorSpec& spec : std::span(specs).first(needed)) {
    PyObject* value = PyDict_GetItemString(inputs.ptr(), spec.name.c_str());
    if (value == nullptr && spec.optional) {
      const Shape& first = tensors[0].shape;
      InputTensor& left_out = tensors.emplace_back();
      left_out.shape = spec.OfRows(first.rank() > 0 ? first[0] : 0);
      left_out.type = spec.type;
      ++absent;
      continue;
    }
    if (value == nullptr) {
      ThrowIfError(InvalidInput(Where(batcher, spec, "input") + "expected " + spec.ToString() +
                                ", it is missing from the request"));
    }
    if (spec.optional) given.push_back(tensors.size());
    tensors.push_back(ReadInput(value, spec, convert, Where(batcher, spec, "input")));
  }
  if (inputs.size() + absent == specs.size()) return tensors;
  for (const auto& [key, value] : inputs) {
    const std::string name = py::str(key).cast<std::string>();
    if (batcher.signature().InputIndex(name) < 0) {
      const BatcherOptions& options = batcher.options();
      ThrowIfError(InvalidInput("model '" + options.model + "' version " + std::to_string(options.version) +
                                " has no input '" + name + "'; its inputs: " + Names(specs)));
    }
  }
  return tensors;
}

size_t OutputIndex(const Batcher& batcher, const std::string& name) {
  const int index = batcher.signature().OutputIndex(name);
  if (index < 0) {
    ThrowIfError(InvalidInput("model '" + batcher.options().model + "' version " +
                              std::to_string(batcher.options().version) + " has no output '" + name +
                              "'; its outputs: " + Names(batcher.signature().outputs)));
  }
  return static_cast<size_t>(index);
}

// What is asked for in vain is said before the model is run for it. Returns whether any output is among them
// that is made for those who ask.
bool CheckOutputNames(const Batcher& batcher, const InferOptions& options) {
  bool optional = false;
  for (const py::object& names : {options.outputs, options.out}) {
    if (names.is_none()) continue;
    for (const py::handle name : names) {
      const size_t index = OutputIndex(batcher, py::str(name).cast<std::string>());
      optional = optional || batcher.signature().outputs[index].optional;
    }
  }
  return optional;
}

// Objects whose last reference may be dropped on any thread.
std::shared_ptr<void> KeepAlive(std::vector<InputTensor>& tensors) {
  auto* owners = new std::vector<py::object>();
  for (InputTensor& tensor : tensors) owners->push_back(tensor.owner);
  return {owners, [](void* pointer) {
            const py::gil_scoped_acquire gil;
            delete static_cast<std::vector<py::object>*>(pointer);
          }};
}

bool ShouldAttach(const std::vector<InputTensor>& tensors) {
  if (tensors.size() > kFewInputs) return false;
  size_t bytes = 0;
  for (const InputTensor& tensor : tensors) {
    if (tensor.ready == nullptr) return false;
    bytes += static_cast<size_t>(tensor.shape.Elements().value_or(0)) * ElementSize(tensor.type);
  }
  return bytes >= kAttachBytes;
}

Status Fill(Batcher& batcher, Request& request, std::vector<InputTensor>& tensors) {
  if (ShouldAttach(tensors)) {
    std::vector<TensorView> views;
    for (const InputTensor& tensor : tensors) {
      views.push_back({tensor.type, tensor.shape, const_cast<void*>(tensor.ready)});
    }
    return batcher.Attach(request, views, KeepAlive(tensors));
  }
  std::array<Shape, kFewInputs> few;
  std::vector<Shape> many(tensors.size() > few.size() ? tensors.size() : 0);
  const std::span<Shape> shapes = many.empty() ? std::span(few).first(tensors.size()) : std::span(many);
  size_t payload_bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    shapes[i] = tensors[i].shape;
    payload_bytes += tensors[i].payload_bytes;
  }
  FALAJ_RETURN_IF_ERROR(batcher.Reserve(request, shapes, payload_bytes));
  std::byte* payload = request.payload();
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].owner) CopyInput(tensors[i], request.inputs()[i], payload);
  }
  return Status::Ok();
}

// A request with a deadline is never run by the thread that waits for it, which must be free to give up.
Batcher::RunHere RunHereFor(TimePoint deadline) {
  return deadline == TimePoint::max() ? Batcher::RunHere::kIfShort : Batcher::RunHere::kNever;
}

// Waits for `requests`, delivered to `waiter`; ends them at their deadline, or when a signal handler raises.
// Returns with all of them delivered, and the handler's exception still set (false). REQUIRES: the GIL
bool WaitForAll(Waiter& waiter, std::span<const RefPtr<Request>> requests, Clock& clock) {
  const size_t count = requests.size();
  TimePoint deadline = TimePoint::max();
  for (const auto& request : requests) deadline = std::min(deadline, request->deadline);
  while (true) {
    bool done = false;
    {
      const GilRelease release;
      done = waiter.WaitUntil(count, std::min(deadline, clock.Now() + kSignalCheck));
      if (!done && clock.Now() >= deadline) {
        for (const auto& request : requests) request->batcher().Expire(request.get());
        done = waiter.WaitUntil(count, TimePoint::max());
      }
    }
    if (done) return true;
    if (PyErr_CheckSignals() != 0) {
      const GilRelease release;
      for (const auto& request : requests) request->batcher().Cancel(request.get());
      waiter.WaitUntil(count, TimePoint::max());
      return false;
    }
  }
}

}  // namespace

TimePoint DeadlineIn(const py::object& timeout) {
  if (timeout.is_none()) return TimePoint::max();
  double seconds = 0;
  try {
    seconds = timeout.cast<double>();
  } catch (const py::cast_error&) {
    ThrowIfError(
        InvalidInput("timeout: expected seconds as a number, got " + py::repr(timeout).cast<std::string>()));
  }
  if (!(seconds >= 0)) {
    ThrowIfError(InvalidInput("timeout: expected seconds >= 0, got " + std::to_string(seconds)));
  }
  if (seconds > 1e8) return TimePoint::max();
  return std::chrono::steady_clock::now() + Nanos(static_cast<int64_t>(seconds * 1e9));
}

Prepared Prepare(RuntimeCore& core, const std::string& model, const py::dict& inputs,
                 const InferOptions& options, const py::object& convert, std::shared_ptr<CompletionSink> sink,
                 uint64_t tag) {
  auto found = core.table.Find(model, options.version, &options.sequence);
  if (!found.ok()) ThrowIfError(found.status());
  ModelLease lease = std::move(found).value();
  if (lease->options().decoupled && !options.takes_many) {
    ThrowIfError(Unsupported(
        lease->Name() + " answers a request several times, or never (decoupled): ask it by infer_stream"));
  }
  const bool wants_features = CheckOutputNames(*lease, options);
  RefPtr<Request> request = lease->NewRequest();
  std::vector<InputTensor> tensors = ReadInputs(*lease, inputs, convert, request->features.given);
  request->features.wanted = wants_features;
  request->sink = std::move(sink);
  request->tag = tag;
  request->priority = options.priority;
  request->sequence = options.sequence;
  request->deadline = options.deadline;
  ThrowIfError(Fill(*lease, *request, tensors));
  return {std::move(lease), std::move(request)};
}

void EnqueuePrepared(const Prepared& prepared, Batcher::Deadline deadline) {
  std::optional<GilRelease> release;
  if (prepared.lease->caches()) release.emplace();
  prepared.lease->Enqueue(prepared.request.get(), deadline);
}

py::object ToAnswer(const Request& request, const py::object& outputs, const py::object& out) {
  ThrowIfError(request.status());
  const Batcher& batcher = request.batcher();
  const auto& specs = batcher.signature().outputs;
  py::dict answer;
  const auto add = [&](size_t i) {
    const TensorView& view = request.outputs()[i];
    const py::str name(specs[i].name);
    if (!out.is_none() && out.contains(name)) {
      const py::object target = out[name];
      CopyToArray(view, target, Where(batcher, specs[i], "output"));
      answer[name] = target;
    } else {
      answer[name] = ToArray(view);
    }
  };
  if (outputs.is_none()) {
    for (size_t i = 0; i < specs.size(); ++i) {
      if (!specs[i].optional || (!out.is_none() && out.contains(py::str(specs[i].name)))) add(i);
    }
    return answer;
  }
  for (const py::handle wanted : outputs) {
    add(OutputIndex(batcher, py::str(wanted).cast<std::string>()));
  }
  return answer;
}

py::object ToAnswerOfMany(const Request& request, const py::object& outputs) {
  ThrowIfError(request.status());
  if (request.batcher().options().decoupled && !request.is_part()) return py::none();
  return ToAnswer(request, outputs, py::none());
}

py::object Runtime::Infer(const std::string& model, const py::dict& inputs, const InferOptions& options) {
  const std::shared_ptr<RuntimeCore> core = this->core();
  Waiter waiter;
  RefPtr<Request> request;
  {
    Prepared prepared = Prepare(*core, model, inputs, options, convert_, Borrow(waiter), 0);
    request = prepared.request;
    const GilRelease release;
    prepared.lease->Submit(request.get(), Batcher::Deadline::kBySubmitter, RunHereFor(request->deadline));
  }
  const bool finished = WaitForAll(waiter, std::span(&request, 1), core->clock);
  request->Unref();  // the sink's
  if (!finished) throw py::error_already_set();
  return ToAnswer(*request, options.outputs, options.out);
}

namespace {

// What was submitted at once by InferMany: a request for each call that could be, the exception of the
// others.
struct Window {
  std::vector<RefPtr<Request>> requests;
  std::vector<py::object> failures;  // None: the next of `requests`
  std::exception_ptr stopped;        // the failure that ends the whole call
};

py::dict DictAt(const py::sequence& requests, size_t index) {
  const py::object request = requests[index];
  if (!PyDict_Check(request.ptr())) {
    PyErr_Format(PyExc_TypeError, "requests[%zu]: expected a dict of inputs, got %s", index,
                 Py_TYPE(request.ptr())->tp_name);
    throw py::error_already_set();
  }
  return py::reinterpret_borrow<py::dict>(request);
}

void FlushAll(const Window& window) {
  const GilRelease release;
  const Batcher* flushed = nullptr;
  for (const auto& request : window.requests) {
    // A reload in the middle of the window leaves two versions to flush.
    if (&request->batcher() != flushed) request->batcher().Flush(RunHereFor(request->deadline));
    flushed = &request->batcher();
  }
}

void AppendAnswers(const Window& window, const InferOptions& options, bool return_exceptions,
                   py::list& answers) {
  size_t next = 0;
  for (const py::object& failure : window.failures) {
    if (!failure.is_none()) {
      answers.append(failure);
      continue;
    }
    const Request& request = *window.requests[next++];
    if (return_exceptions && !request.status().ok()) {
      answers.append(ToException(request.status()));
    } else {
      answers.append(ToAnswer(request, options.outputs, py::none()));
    }
  }
}

}  // namespace

py::list Runtime::InferMany(const std::string& model, const py::sequence& requests,
                            const InferOptions& options, bool return_exceptions) {
  const std::shared_ptr<RuntimeCore> core = this->core();
  py::list answers;
  const size_t total = requests.size();
  for (size_t next = 0; next < total;) {
    Waiter waiter;
    Window window;
    int64_t rows = 0;
    // As many as leave room in the queue for other callers.
    for (bool room = true; room && next < total && !window.stopped; ++next) {
      try {
        const Prepared prepared =
            Prepare(*core, model, DictAt(requests, next), options, convert_, Borrow(waiter), 0);
        EnqueuePrepared(prepared, Batcher::Deadline::kBySubmitter);
        window.requests.push_back(prepared.request);
        const Request& request = *prepared.request;
        rows += std::max<int64_t>(1, request.rows());
        room = rows < request.batcher().options().max_queue_rows / 4;
        window.failures.push_back(py::none());
      } catch (py::error_already_set& error) {
        if (!return_exceptions) window.stopped = std::current_exception();
        window.failures.push_back(py::reinterpret_borrow<py::object>(error.value()));
      } catch (...) {
        window.stopped = std::current_exception();
      }
    }
    FlushAll(window);
    const bool finished = WaitForAll(waiter, window.requests, core->clock);
    for (const auto& request : window.requests) request->Unref();  // the sink's
    if (!finished) throw py::error_already_set();
    if (window.stopped) std::rethrow_exception(window.stopped);
    AppendAnswers(window, options, return_exceptions, answers);
  }
  return answers;
}

}  // namespace falaj

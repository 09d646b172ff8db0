#include "bind/streamed.h"

#include <chrono>

#include "bind/errors.h"
#include "bind/gil.h"

namespace falaj {
namespace {

// How long a wait may keep Ctrl-C waiting.
constexpr Nanos kSignalCheck = std::chrono::milliseconds(100);

}  // namespace

py::object StreamedAnswer::Take() {
  if (!request_) ThrowIfError(Internal("this answer was taken already"));
  const RefPtr<Request> request = std::exchange(request_, RefPtr<Request>());
  return ToAnswerOfMany(*request, outputs_);
}

QueueSink::~QueueSink() {
  for (Request* const request : delivered_) request->Unref();
}

void QueueSink::Deliver(std::span<Request* const> done) {
  MutexLock lock(mu_);
  delivered_.insert(delivered_.end(), done.begin(), done.end());
  changed_.NotifyOne();
}

RefPtr<Request> QueueSink::Next(TimePoint until) {
  MutexLock lock(mu_);
  while (delivered_.empty()) {
    if (std::chrono::steady_clock::now() >= until) return {};
    changed_.WaitUntil(mu_, until);
  }
  RefPtr<Request> request(delivered_.front());
  delivered_.front()->Unref();  // the sink's
  delivered_.pop_front();
  return request;
}

AnswerIterator::AnswerIterator(const Runtime& runtime, const std::string& model, const py::dict& inputs,
                               const InferOptions& options)
    : outputs_(options.outputs) {
  auto state = std::make_shared<State>();
  state->core = runtime.core();
  state->sink = std::make_shared<QueueSink>();
  const Prepared prepared =
      Prepare(*state->core, model, inputs, options, runtime.convert(), state->sink, /*tag=*/0);
  state->request = prepared.request;
  {
    const GilRelease release;
    prepared.lease->Submit(state->request.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
  }
  state_ = ForkGuarded<State>(std::move(state));
}

AnswerIterator::~AnswerIterator() { Close(); }

py::object AnswerIterator::Next() {
  if (ended_) return py::none();
  if (!state_.usable())
    ThrowIfError(Unavailable("this engine was made before fork(); make one in the child"));
  while (true) {
    RefPtr<Request> answer;
    {
      const GilRelease release;
      answer = state_->sink->Next(std::chrono::steady_clock::now() + kSignalCheck);
    }
    if (answer) {
      ended_ = !answer->is_part();
      return ToAnswerOfMany(*answer, outputs_);
    }
    if (PyErr_CheckSignals() != 0) {
      Close();
      throw py::error_already_set();
    }
  }
}

void AnswerIterator::Close() {
  if (std::exchange(ended_, true) || !state_.usable()) return;
  const GilRelease release;
  state_->request->batcher().Cancel(state_->request.get());
}

void BindStreamed(py::module_& module) {
  py::class_<StreamedAnswer>(module, "StreamedAnswer")
      .def_property_readonly("last", &StreamedAnswer::last)
      .def("take", &StreamedAnswer::Take);
  py::class_<AnswerIterator>(module, "AnswerIterator")
      .def(py::init([](const Runtime& runtime, const std::string& model, const py::dict& inputs,
                       int64_t version, const py::object& timeout, int priority, const py::object& outputs) {
             return std::make_unique<AnswerIterator>(
                 runtime, model, inputs,
                 InferOptions{version, DeadlineIn(timeout), priority, RequestSequence(), outputs, py::none(),
                              true});
           }),
           py::arg("runtime"), py::arg("model"), py::arg("inputs"), py::arg("version"), py::arg("timeout"),
           py::arg("priority"), py::arg("outputs"))
      .def("next", &AnswerIterator::Next)
      .def("close", &AnswerIterator::Close);
}

}  // namespace falaj

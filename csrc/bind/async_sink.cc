#include "bind/async_sink.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "bind/errors.h"
#include "bind/gil.h"
#include "bind/sequences.h"
#include "bind/streamed.h"

namespace falaj {

EventSink::EventSink() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

EventSink::~EventSink() {
  if (fd_ >= 0) close(fd_);
  for (Request* request : done_) request->Unref();
}

void EventSink::Deliver(std::span<Request* const> done) {
  bool wake = false;
  {
    MutexLock lock(mu_);
    wake = done_.empty();
    done_.insert(done_.end(), done.begin(), done.end());
  }
  if (!wake) return;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the loop is awake already.
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
}

void EventSink::Take(std::vector<Request*>& done) {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof(count));  // non-blocking
  MutexLock lock(mu_);
  done.swap(done_);
}

AsyncSink::AsyncSink(const Runtime& runtime)
    : core_(runtime.core()), convert_(runtime.convert()), events_(std::make_shared<EventSink>()) {
  if (events_->fd() < 0) ThrowIfError(Unavailable("no file descriptor is left for the event loop's wake-up"));
}

uint64_t AsyncSink::SubmitFuture(const std::string& model, const py::dict& inputs,
                                 const InferOptions& options, const py::object& future) {
  Pending pending;
  pending.future = future;
  pending.outputs = options.outputs;
  pending.out = options.out;
  return Submit(model, inputs, options, std::move(pending));
}

uint64_t AsyncSink::SubmitStream(const std::string& model, const py::dict& inputs,
                                 const InferOptions& options, const py::object& take) {
  Pending pending;
  pending.take = take;
  pending.outputs = options.outputs;
  return Submit(model, inputs, options, std::move(pending));
}

uint64_t AsyncSink::Submit(const std::string& model, const py::dict& inputs, const InferOptions& options,
                           Pending pending) {
  if (!core_.usable()) ThrowIfError(Unavailable("this engine was made before fork(); make one in the child"));
  const uint64_t tag = next_tag_++;
  const Prepared prepared = Prepare(*core_.shared(), model, inputs, options, convert_, events_, tag);
  EnqueuePrepared(prepared, Batcher::Deadline::kByTimer);
  pending.request = prepared.request;
  deadline_in_burst_ = deadline_in_burst_ || pending.request->deadline != TimePoint::max();
  const auto batcher = pending.request->batcher().shared_from_this();
  if (std::find(unflushed_.begin(), unflushed_.end(), batcher) == unflushed_.end()) {
    unflushed_.push_back(batcher);
  }
  pending_.emplace(tag, std::move(pending));
  return tag;
}

void AsyncSink::Flush() {
  std::vector<std::shared_ptr<Batcher>> batchers;
  batchers.swap(unflushed_);
  // With a deadline among them the loop must stay free to see it pass.
  const auto run_here = deadline_in_burst_ ? Batcher::RunHere::kNever : Batcher::RunHere::kIfShort;
  deadline_in_burst_ = false;
  const GilRelease release;
  for (const auto& batcher : batchers) batcher->Flush(run_here);
}

void AsyncSink::Cancel(uint64_t tag) {
  const auto found = pending_.find(tag);
  if (found == pending_.end()) return;
  const Pending pending = std::move(found->second);
  pending_.erase(found);
  const GilRelease release;
  pending.request->batcher().Cancel(pending.request.get());
}

void AsyncSink::Drain() {
  taken_.clear();
  events_->Take(taken_);
  std::vector<Request*> taken;
  taken.swap(taken_);  // a future's callback may come back here
  for (Request* raw : taken) {
    const RefPtr<Request> request(raw);
    raw->Unref();  // the sink's
    if (GiveToStream(request)) continue;
    const auto found = pending_.find(request->tag);
    if (found == pending_.end()) continue;  // cancelled
    const Pending pending = std::move(found->second);
    pending_.erase(found);
    if (pending.future.attr("done")().cast<bool>()) continue;
    try {
      pending.future.attr("set_result")(ToAnswer(*request, pending.outputs, pending.out));
    } catch (py::error_already_set& error) {
      pending.future.attr("set_exception")(error.value());
    }
  }
}

// Whether it is an answer to a stream, or was one.
bool AsyncSink::GiveToStream(const RefPtr<Request>& request) {
  const auto found = pending_.find(request->tag);
  if (found == pending_.end() || !found->second.take) return false;
  const py::object take = found->second.take;
  const py::object outputs = found->second.outputs;
  if (!request->is_part()) pending_.erase(found);
  try {
    take(StreamedAnswer(request, outputs));
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("an answer of a stream");
  }
  return true;
}

void BindAsyncSink(py::module_& module) {
  py::class_<AsyncSink>(module, "AsyncSink")
      .def(py::init<const Runtime&>(), py::arg("runtime"))
      .def_property_readonly("fd", &AsyncSink::fd)
      .def_property_readonly("pending", &AsyncSink::pending)
      .def(
          "submit",
          [](AsyncSink& self, const std::string& model, const py::dict& inputs, int64_t version,
             const py::object& timeout, int priority, const py::object& sequence, const py::object& outputs,
             const py::object& out, const py::object& future) {
            return self.SubmitFuture(
                model, inputs, {version, DeadlineIn(timeout), priority, ReadSequence(sequence), outputs, out},
                future);
          },
          py::arg("model"), py::arg("inputs"), py::arg("version"), py::arg("timeout"), py::arg("priority"),
          py::arg("sequence"), py::arg("outputs"), py::arg("out"), py::arg("future"))
      .def(
          "submit_stream",
          [](AsyncSink& self, const std::string& model, const py::dict& inputs, int64_t version,
             const py::object& timeout, int priority, const py::object& outputs, const py::object& take) {
            InferOptions options{version, DeadlineIn(timeout), priority, RequestSequence(),
                                 outputs, py::none()};
            options.takes_many = true;
            return self.SubmitStream(model, inputs, options, take);
          },
          py::arg("model"), py::arg("inputs"), py::arg("version"), py::arg("timeout"), py::arg("priority"),
          py::arg("outputs"), py::arg("take"))
      .def("flush", &AsyncSink::Flush)
      .def("cancel", &AsyncSink::Cancel, py::arg("tag"))
      .def("drain", &AsyncSink::Drain);
}

}  // namespace falaj

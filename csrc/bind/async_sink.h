// Answers for one asyncio event loop: a batch that finishes wakes the loop once, through an eventfd.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "bind/runtime.h"

namespace falaj {

// The half that native threads see. Thread-safe. Held by its requests, so it outlives the loop if need be.
class EventSink final : public CompletionSink {
 public:
  EventSink();
  ~EventSink() override;

  void Deliver(std::span<Request* const> done) override;
  int fd() const { return fd_; }
  // Moves the delivered requests (one reference each) to `done` and re-arms the wake-up.
  void Take(std::vector<Request*>& done);

 private:
  const int fd_;
  Mutex mu_;
  std::vector<Request*> done_ GUARDED_BY(mu_);
};

// The half that the loop's thread uses, under the GIL.
class AsyncSink {
 public:
  explicit AsyncSink(const Runtime& runtime);

  int fd() const { return events_->fd(); }
  // Enqueues a request whose answer will be set on `future`; returns its tag. Flush follows, once per turn of
  // the loop.
  uint64_t SubmitFuture(const std::string& model, const py::dict& inputs, const InferOptions& options,
                        const py::object& future);
  // The same for any number of answers: each is given to `take` as an Answer, the last of which is last.
  uint64_t SubmitStream(const std::string& model, const py::dict& inputs, const InferOptions& options,
                        const py::object& take);
  void Flush();
  // Withdraws the request; its future is not touched any more.
  void Cancel(uint64_t tag);
  // Sets the futures of what was delivered. To be called when fd is readable.
  void Drain();
  size_t pending() const { return pending_.size(); }

 private:
  struct Pending {
    RefPtr<Request> request;
    py::object future, outputs, out;
    py::object take;  // instead of a future: of a stream
  };

  uint64_t Submit(const std::string& model, const py::dict& inputs, const InferOptions& options,
                  Pending pending);
  bool GiveToStream(const RefPtr<Request>& request);

  ForkGuarded<RuntimeCore> core_;
  const py::object convert_;
  const std::shared_ptr<EventSink> events_;
  std::unordered_map<uint64_t, Pending> pending_;
  std::vector<std::shared_ptr<Batcher>> unflushed_;
  bool deadline_in_burst_ = false;  // of what is unflushed
  uint64_t next_tag_ = 1;
  std::vector<Request*> taken_;
};

void BindAsyncSink(py::module_& module);

}  // namespace falaj

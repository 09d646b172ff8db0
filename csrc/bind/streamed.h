// Answers to requests that are answered any number of times, as Python takes them.
#pragma once

#include <pybind11/pybind11.h>

#include <deque>
#include <memory>
#include <string>

#include "bind/runtime.h"

namespace falaj {

// One answer, until its arrays are wanted: the model that gives many waits for those that are not taken.
class StreamedAnswer {
 public:
  StreamedAnswer(RefPtr<Request> request, py::object outputs)
      : request_(std::move(request)), outputs_(std::move(outputs)), last_(!request_->is_part()) {}

  bool last() const { return last_; }
  // Its arrays by name, or None: it only says that there are no more. To be called once. Throws the failure.
  py::object Take();

 private:
  RefPtr<Request> request_;
  const py::object outputs_;
  const bool last_;
};

// What was delivered to one stream, in order. Thread-safe.
class QueueSink final : public CompletionSink {
 public:
  ~QueueSink() override;
  void Deliver(std::span<Request* const> done) override EXCLUDES(mu_);
  // Null: nothing came until then.
  RefPtr<Request> Next(TimePoint until) EXCLUDES(mu_);

 private:
  Mutex mu_;
  CondVar changed_;
  std::deque<Request*> delivered_ GUARDED_BY(mu_);  // one reference each
};

// Answers for a thread that waits for each. Used by one thread at a time, under the GIL.
class AnswerIterator {
 public:
  // Begins. Throws what is wrong with the request.
  AnswerIterator(const Runtime& runtime, const std::string& model, const py::dict& inputs,
                 const InferOptions& options);
  ~AnswerIterator();

  // The next answer, None behind the last. Throws the failure, which is then the last.
  py::object Next();
  // Withdraws what has not ended.
  void Close();

 private:
  struct State {
    std::shared_ptr<RuntimeCore> core;
    std::shared_ptr<QueueSink> sink;
    RefPtr<Request> request;
  };
  ForkGuarded<State> state_;
  const py::object outputs_;
  bool ended_ = false;
};

void BindStreamed(py::module_& module);

}  // namespace falaj

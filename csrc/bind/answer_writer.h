// Where an event loop of Python's puts a model's answers to one request.
#pragma once

#include <pybind11/pybind11.h>

#include "backend/backend.h"

namespace falaj {

namespace py = pybind11;

// Made by the thread that runs the request, which waits meanwhile; used on the loop's thread. Never waits.
// Used under the GIL.
class AnswerWriter {
 public:
  // `event_fd` is written to when is_full or has_ended may have changed. It is the instance's and is used for
  // one request after the other.
  AnswerWriter(const ModelSignature* signature, AnswerStream* answers, int event_fd);
  ~AnswerWriter() { Close(); }
  AnswerWriter(const AnswerWriter&) = delete;
  AnswerWriter& operator=(const AnswerWriter&) = delete;

  int fd() const { return event_fd_; }
  // Makes fd unreadable until the next change.
  void Clear();
  bool is_full() const;
  bool has_ended() const;
  // Hands on one answer. False: it went nowhere, and no more is wanted; status says why. REQUIRES: !is_full()
  bool Put(const py::object& answer);
  const Status& status() const { return status_; }
  // The request is over: what is put from now on goes nowhere.
  void Close();

 private:
  const ModelSignature* const signature_;
  AnswerStream* answers_;  // null: closed
  const int event_fd_;
  Status status_;
};

void BindAnswerWriter(py::module_& module);

}  // namespace falaj

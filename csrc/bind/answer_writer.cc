#include "bind/answer_writer.h"

#include <unistd.h>

#include <cstdint>

#include "bind/python_answer.h"

namespace falaj {

AnswerWriter::AnswerWriter(const ModelSignature* signature, AnswerStream* answers, int event_fd)
    : signature_(signature), answers_(answers), event_fd_(event_fd) {
  const py::gil_scoped_release release;
  answers_->Watch(event_fd_);
}

void AnswerWriter::Clear() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof(count));  // non-blocking
}

bool AnswerWriter::is_full() const {
  return answers_ != nullptr && answers_->LookForRoom() == AnswerStream::Room::kFull;
}

bool AnswerWriter::has_ended() const {
  return answers_ == nullptr || answers_->LookForRoom() == AnswerStream::Room::kEnded;
}

bool AnswerWriter::Put(const py::object& answer) {
  if (answers_ == nullptr) return false;
  status_ = PutAnswer(answer, signature_->outputs, *answers_);
  return status_.ok();
}

void AnswerWriter::Close() {
  if (answers_ == nullptr) return;
  AnswerStream* const answers = std::exchange(answers_, nullptr);
  const py::gil_scoped_release release;
  answers->Watch(-1);
}

void BindAnswerWriter(py::module_& module) {
  py::class_<AnswerWriter>(module, "AnswerWriter")
      .def_property_readonly("fd", &AnswerWriter::fd)
      .def_property_readonly("is_full", &AnswerWriter::is_full)
      .def_property_readonly("has_ended", &AnswerWriter::has_ended)
      .def("clear", &AnswerWriter::Clear)
      .def("put", &AnswerWriter::Put, py::arg("answer"));
}

}  // namespace falaj

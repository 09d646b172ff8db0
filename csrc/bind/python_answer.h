// What a Python model gave as an answer, as the outputs of a batch.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace falaj {

namespace py = pybind11;

// Copies `answer`, a dict of arrays in the declared types, into `outputs`: the batch's rows where they have
// data, else memory of their own, which goes to `owners`. `how` is told where it is no dict: "infer returned
// ". A wrong answer is the model's fault, never the request's: kInternal. REQUIRES: the GIL
Status TakeAnswer(const py::object& answer, const char* how, const std::vector<TensorSpec>& specs,
                  std::span<TensorView> outputs, std::vector<std::shared_ptr<void>>& owners);

// Hands one thing that a model yielded to whoever asked; kCancelled: nobody wants more. Lets go of the GIL
// while it may wait. REQUIRES: the GIL
Status PutAnswer(const py::object& answer, const std::vector<TensorSpec>& specs, AnswerStream& answers);

}  // namespace falaj

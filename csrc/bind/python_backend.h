// Models written in Python: a user's class, called with the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "backend/backend.h"

namespace falaj {

namespace py = pybind11;

// `factory()` makes one loaded model object per instance; its `infer(batch)` takes a dict of arrays (copies,
// its own to keep) and returns a dict of arrays in the declared types. An exception fails the batch with the
// Code of its type. `streams`: its `stream(batch)` is called instead, for one request at a time, and each
// dict that it yields is an answer. What a model gives to be awaited goes to `loop`, which runs it on a
// thread of its own (server/model_loop.py): `wait(awaitable)`, `stream(answers, AnswerWriter)`, and `close()`
// when no instance is left. REQUIRES: the GIL
std::unique_ptr<Backend> NewPythonBackend(ModelSignature signature, py::object factory, py::object loop,
                                          bool streams);

}  // namespace falaj

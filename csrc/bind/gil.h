// Letting other Python threads run while a thread of Python's is in native code.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

namespace falaj {

// As py::gil_scoped_release, but safe in daemon threads: while the interpreter ends, Python before 3.14 ends
// a thread that comes back for the GIL by unwinding its stack, which no destructor survives. Such a thread is
// stopped here instead, as Python 3.14 does; the process is about to end.
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    try {
      PyEval_RestoreThread(state_);
    } catch (abi::__forced_unwind&) {
      while (true) pause();
    }
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* const state_;
};

}  // namespace falaj

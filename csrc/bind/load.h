// The load generator: what `falaj bench` asks with.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "bind/fork_guard.h"
#include "load/load_run.h"

namespace falaj {

namespace py = pybind11;

// A load on a server. Its threads take no GIL.
class PyLoadRun {
 public:
  // Connects and begins. `target` and `options` are as falaj/_core.pyi says. Throws InvalidInput or
  // Unavailable.
  PyLoadRun(const py::dict& target, const py::dict& options);
  ~PyLoadRun();

  // The next window, or None where none ended within so many seconds.
  py::object Next(double timeout);
  // Asks no more, waits so many seconds for what is under way, and returns that.
  py::dict Stop(double grace);

 private:
  load::LoadRun& Get() const;

  ForkGuarded<load::LoadRun> run_;
};

void BindLoad(py::module_& module);

}  // namespace falaj

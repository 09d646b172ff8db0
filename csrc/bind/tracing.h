// The traces of an engine, for Python: who is sampled, and spans to be exported.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "bind/fork_guard.h"
#include "bind/runtime.h"
#include "observe/tracing.h"

namespace falaj {

// All methods with the GIL, from any thread; Take waits without it.
class PyTracing {
 public:
  explicit PyTracing(const Runtime& runtime) : tracing_(runtime.core()->tracing) {}

  void Publish(const py::tuple& all, const py::dict& models);
  py::dict Left() const;
  void Describe(std::string address, uint16_t http_port, uint16_t grpc_port);
  py::tuple Take(double timeout, size_t most_bytes);
  void Wake();
  py::dict Counts() const;

 private:
  Tracing& Get() const;

  const ForkGuarded<Tracing> tracing_;
};

void BindTracing(py::module_& module);

}  // namespace falaj

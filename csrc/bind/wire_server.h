// The wire server and the bridge to the control plane, for Python.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "bind/runtime.h"
#include "wire/wire_server.h"

namespace falaj {

// All methods with the GIL, from any thread; see WireServer for their order. Holds the runtime's core.
class PyWireServer {
 public:
  PyWireServer(const Runtime& runtime, const py::dict& options);
  ~PyWireServer() { Close(); }

  uint16_t Listen(const std::string& kind, const std::string& host, uint16_t port, const py::object& tls);
  void ReloadTls();
  void Start();
  void AnnounceDrain();
  void Drain();
  void Close();
  int64_t connections() const { return Get().connections(); }
  int64_t requests() const { return Get().requests(); }
  uint64_t access_log_dropped() const { return Get().control().dropped_records(); }
  py::dict Stats() const;

  // The bridge. `fd` is readable when Take has something.
  int fd() const { return Get().control().fd(); }
  py::list Take();
  void ReplyHead(uint64_t id, int status, const py::sequence& headers);
  bool ReplyBody(uint64_t id, const py::bytes& body, bool last);
  bool ReplyGrpc(uint64_t id, const py::object& message, const py::object& status, std::string text,
                 const py::sequence& trailers);

 private:
  wire::WireServer& Get() const;

  const ForkGuarded<RuntimeCore> core_;
  ForkGuarded<wire::WireServer> server_;
};

void BindWireServer(py::module_& module);

}  // namespace falaj

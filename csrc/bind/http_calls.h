// Infer by HTTP without sockets, for an ASGI server: the same codec and the same answers as the native
// listener's.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <unordered_map>

#include "bind/async_sink.h"
#include "wire/http_infer.h"

namespace falaj {

// For one event loop, under the GIL, as AsyncSink.
class HttpCalls {
 public:
  HttpCalls(const Runtime& runtime, const py::dict& options);

  int fd() const { return events_->fd(); }
  // Starts a request whose answer (status, headers, body) will be set on `future`; returns its tag, 0 where
  // it was answered at once. Flush follows, once per turn of the loop.
  uint64_t Submit(const std::string& target, const py::sequence& headers, const py::bytes& body,
                  const py::object& future);
  void Flush();
  void Cancel(uint64_t tag);
  // Sets the futures of what was answered. To be called when fd is readable.
  void Drain();

 private:
  struct Pending {
    wire::InferTarget target;
    wire::HttpInfer infer;
    py::object future;
  };

  ForkGuarded<RuntimeCore> core_;
  const wire::WireOptions options_;
  const std::shared_ptr<EventSink> events_;
  const std::shared_ptr<CompletionSink> sink_;
  wire::HttpCodec codec_;
  std::unordered_map<uint64_t, std::unique_ptr<Pending>> pending_;
  std::vector<std::shared_ptr<Batcher>> unflushed_;
  uint64_t next_tag_ = 1;
};

void BindHttpCalls(py::module_& module);

}  // namespace falaj

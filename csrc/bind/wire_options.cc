#include "bind/wire_options.h"

#include <functional>
#include <map>
#include <string>
#include <type_traits>

#include "bind/errors.h"
#include "wire/shared_memory.h"

namespace falaj {
namespace {

using Setter = std::function<void(const py::handle&)>;
using Setters = std::map<std::string, Setter, std::less<>>;

template <typename T>
void Add(Setters& setters, std::string name, T& field) {
  setters[std::move(name)] = [&field](const py::handle& value) {
    if constexpr (std::is_same_v<T, Nanos>) {
      field = Nanos(static_cast<int64_t>(value.cast<double>() * 1e9));
    } else {
      field = value.cast<T>();
    }
  };
}

void AddHttp(Setters& setters, wire::HttpLimits& http) {
  Add(setters, "http.max_header_bytes", http.max_header_bytes);
  Add(setters, "http.max_body_bytes", http.max_body_bytes);
  Add(setters, "http.max_pipelined_bytes", http.max_pipelined_bytes);
  Add(setters, "http.header_timeout", http.header_timeout);
  Add(setters, "http.body_timeout", http.body_timeout);
  Add(setters, "http.min_body_bytes_per_second", http.min_body_bytes_per_second);
  Add(setters, "http.idle_timeout", http.idle_timeout);
  Add(setters, "http.write_timeout", http.write_timeout);
}

void AddGrpc(Setters& setters, wire::GrpcLimits& grpc) {
  Add(setters, "grpc.max_message_bytes", grpc.max_message_bytes);
  Add(setters, "grpc.max_concurrent_streams", grpc.max_concurrent_streams);
  Add(setters, "grpc.max_requests_per_stream", grpc.max_requests_per_stream);
  Add(setters, "grpc.max_metadata_bytes", grpc.max_metadata_bytes);
  Add(setters, "grpc.stream_window_bytes", grpc.stream_window_bytes);
  Add(setters, "grpc.connection_window_bytes", grpc.connection_window_bytes);
  Add(setters, "grpc.max_resets_per_second", grpc.max_resets_per_second);
  Add(setters, "grpc.max_control_frames_per_second", grpc.max_control_frames_per_second);
  Add(setters, "grpc.min_ping_interval", grpc.min_ping_interval);
  Add(setters, "grpc.keepalive_interval", grpc.keepalive_interval);
  Add(setters, "grpc.keepalive_timeout", grpc.keepalive_timeout);
  Add(setters, "grpc.idle_timeout", grpc.idle_timeout);
  Add(setters, "grpc.handshake_timeout", grpc.handshake_timeout);
  Add(setters, "grpc.min_message_bytes_per_second", grpc.min_message_bytes_per_second);
  Add(setters, "grpc.message_timeout", grpc.message_timeout);
  Add(setters, "grpc.write_timeout", grpc.write_timeout);
}

Setters SettersOf(wire::WireOptions& options) {
  Setters setters;
  Add(setters, "io_threads", options.io_threads);
  Add(setters, "max_connections", options.max_connections);
  Add(setters, "max_connections_per_client", options.max_connections_per_client);
  Add(setters, "max_requests_in_flight", options.max_requests_in_flight);
  Add(setters, "max_requests_per_client", options.max_requests_per_client);
  Add(setters, "max_buffered_bytes", options.max_buffered_bytes);
  Add(setters, "default_timeout", options.default_timeout);
  Add(setters, "triton_compat", options.triton_compat);
  Add(setters, "access_log_per_million", options.access_log_per_million);
  Add(setters, "shared_memory", options.shared_memory);
  Add(setters, "codec.max_tensors", options.codec.max_tensors);
  Add(setters, "codec.max_depth", options.codec.max_depth);
  Add(setters, "codec.max_name_bytes", options.codec.max_name_bytes);
  AddHttp(setters, options.http);
  AddGrpc(setters, options.grpc);
  return setters;
}

}  // namespace

wire::WireOptions ReadWireOptions(const py::dict& from) {
  wire::WireOptions options;
  const Setters setters = SettersOf(options);
  for (const auto& [key, value] : from) {
    const auto name = key.cast<std::string>();
    const auto setter = setters.find(name);
    if (setter == setters.end()) ThrowIfError(InvalidInput("wire option '" + name + "' is not known"));
    try {
      setter->second(value);
    } catch (const py::cast_error&) {
      ThrowIfError(InvalidInput("wire option '" + name + "': " + py::repr(value).cast<std::string>() +
                                " is not a value of its type and range"));
    }
  }
  return options;
}

}  // namespace falaj

#include "bind/wire_server.h"

#include <pybind11/stl.h>

#include <map>

#include "bind/errors.h"
#include "bind/gil.h"
#include "bind/wire_options.h"

namespace falaj {
namespace {

constexpr std::array<const char*, wire::kWires> kWireNames{"http", "grpc", "admin"};

wire::Wire WireOf(const std::string& name) {
  for (size_t i = 0; i < kWireNames.size(); ++i) {
    if (name == kWireNames[i]) return static_cast<wire::Wire>(i);
  }
  ThrowIfError(InvalidInput("listener '" + name + "': expected http, grpc or admin"));
  return wire::Wire::kHttp;
}

const char* NameOf(wire::Listener listener) { return kWireNames[static_cast<size_t>(listener)]; }

py::list HistogramOf(const std::array<uint64_t, Histogram::kBins>& bins) {
  py::list rows;
  for (size_t i = 0; i < bins.size(); ++i) {
    if (bins[i] > 0) rows.append(py::make_tuple(Histogram::UpperBound(i), bins[i]));
  }
  return rows;
}

// The sum over the I/O threads.
py::dict StatsOf(const std::vector<std::unique_ptr<wire::IoThread>>& threads, wire::Wire wire) {
  const auto sum = [&](auto member) {
    uint64_t total = 0;
    for (const auto& thread : threads) total += (thread->counters_of(wire).*member).Get();
    return total;
  };
  const auto histogram = [&](auto member) {
    std::array<uint64_t, Histogram::kBins> bins{};
    for (const auto& thread : threads) {
      for (size_t i = 0; i < bins.size(); ++i) bins[i] += (thread->counters_of(wire).*member).Get(i);
    }
    return HistogramOf(bins);
  };
  // Of the values themselves: the bins only bound them.
  const auto total = [&](auto member) {
    uint64_t nanos = 0;
    for (const auto& thread : threads) nanos += (thread->counters_of(wire).*member).Sum();
    return nanos;
  };
  using Counters = wire::WireCounters;
  py::dict refused;
  for (size_t i = 0; i < static_cast<size_t>(wire::Refusal::kCount); ++i) {
    uint64_t times = 0;
    for (const auto& thread : threads) times += thread->counters_of(wire).refused[i].Get();
    refused[wire::RefusalName(static_cast<wire::Refusal>(i))] = times;
  }
  using namespace pybind11::literals;
  return py::dict(
      "connections_opened"_a = sum(&Counters::connections_opened),
      "connections_closed"_a = sum(&Counters::connections_closed), "requests"_a = sum(&Counters::requests),
      "infer_requests"_a = sum(&Counters::infer_requests), "ok"_a = sum(&Counters::ok),
      "client_errors"_a = sum(&Counters::client_errors), "server_errors"_a = sum(&Counters::server_errors),
      "cancelled"_a = sum(&Counters::cancelled), "bytes_in"_a = sum(&Counters::bytes_in),
      "bytes_out"_a = sum(&Counters::bytes_out), "refused"_a = refused,
      "read_ns"_a = histogram(&Counters::read), "decode_ns"_a = histogram(&Counters::decode),
      "wait_ns"_a = histogram(&Counters::wait), "encode_ns"_a = histogram(&Counters::encode),
      "request_ns"_a = histogram(&Counters::request), "read_ns_sum"_a = total(&Counters::read),
      "decode_ns_sum"_a = total(&Counters::decode), "wait_ns_sum"_a = total(&Counters::wait),
      "encode_ns_sum"_a = total(&Counters::encode), "request_ns_sum"_a = total(&Counters::request));
}

// One event of the control queue as the tuple that falaj/_core.pyi describes.
struct EventToPython {
  py::tuple operator()(wire::Asked& asked) const {
    wire::ControlRequest& request = asked.request;
    py::list headers;
    for (const auto& [name, value] : request.headers) {
      headers.append(py::make_tuple(py::bytes(name), py::bytes(value)));
    }
    return py::make_tuple("request", asked.id, NameOf(request.listener), py::bytes(request.method),
                          py::bytes(request.target), request.http_minor, headers, py::bytes(request.body),
                          request.peer_address, request.peer_port, request.tls, request.certificate_subject);
  }
  py::tuple operator()(const wire::Gone& gone) const { return py::make_tuple("gone", gone.id); }
  py::tuple operator()(const wire::Drained& drained) const { return py::make_tuple("drained", drained.id); }
  py::tuple operator()(const wire::AccessRecord& record) const {
    return py::make_tuple("access", NameOf(record.listener), py::bytes(record.method),
                          py::bytes(record.target), py::bytes(record.request_id), record.peer_address,
                          record.status, record.bytes_in, record.bytes_out, record.duration_us);
  }
};

std::optional<wire::TlsFiles> ReadTls(const py::object& from) {
  if (from.is_none()) return std::nullopt;
  const auto text = [&](const char* key) {
    const py::object value = from[key];
    return value.is_none() ? std::string() : py::str(value).cast<std::string>();
  };
  return wire::TlsFiles{text("certificate"), text("key"), text("client_ca"),
                        from["require_client_certificate"].cast<bool>()};
}

template <typename Text>
wire::Fields ReadFields(const py::sequence& from) {
  wire::Fields fields;
  for (const py::handle item : from) {
    const auto pair = item.cast<py::sequence>();
    fields.emplace_back(std::string(Text(pair[0])), std::string(Text(pair[1])));
  }
  return fields;
}

}  // namespace

PyWireServer::PyWireServer(const Runtime& runtime, const py::dict& options)
    : core_(runtime.core()),
      server_(std::make_shared<wire::WireServer>(ReadWireOptions(options), core_->table, core_->tracing)) {
  if (fd() < 0) ThrowIfError(Unavailable("no file descriptor is left for the bridge's wake-up"));
}

wire::WireServer& PyWireServer::Get() const {
  if (!server_.usable()) ThrowIfError(Unavailable("this server belongs to the process that forked this one"));
  return *server_.get();
}

uint16_t PyWireServer::Listen(const std::string& kind, const std::string& host, uint16_t port,
                              const py::object& tls) {
  ThrowIfError(Get().Listen(WireOf(kind), host, port, ReadTls(tls)));
  return port;
}

void PyWireServer::ReloadTls() { ThrowIfError(Get().ReloadTls()); }
void PyWireServer::Start() { Get().Start(); }
void PyWireServer::AnnounceDrain() { Get().AnnounceDrain(); }
void PyWireServer::Drain() { Get().Drain(); }

void PyWireServer::Close() {
  if (!server_.usable()) return;
  const GilRelease release;  // I/O threads may be running a Python model
  server_->Close();
}

py::dict PyWireServer::Stats() const {
  const wire::WireServer& server = Get();
  py::dict stats;
  for (size_t i = 0; i < kWireNames.size(); ++i) {
    stats[kWireNames[i]] = StatsOf(server.threads(), static_cast<wire::Wire>(i));
  }
  stats["connections"] = server.connections();
  stats["requests_in_flight"] = server.requests();
  stats["buffered_bytes"] = server.buffered_bytes();
  return stats;
}

py::list PyWireServer::Take() {
  py::list events;
  for (wire::ControlEvent& event : Get().control().Take()) {
    events.append(std::visit(EventToPython{}, event));
  }
  return events;
}

void PyWireServer::ReplyHead(uint64_t id, int status, const py::sequence& headers) {
  wire::ControlReply reply;
  reply.id = id;
  reply.head = true;
  reply.status = status;
  reply.headers = ReadFields<py::bytes>(headers);
  Get().Reply(std::move(reply));
}

bool PyWireServer::ReplyBody(uint64_t id, const py::bytes& body, bool last) {
  wire::ControlReply reply;
  reply.id = id;
  reply.body = std::string(body);
  reply.last = last;
  return Get().Reply(std::move(reply));
}

bool PyWireServer::ReplyGrpc(uint64_t id, const py::object& message, const py::object& status,
                             std::string text, const py::sequence& trailers) {
  wire::ControlReply reply;
  reply.id = id;
  if (!message.is_none()) {
    reply.body = std::string(message.cast<py::bytes>());
    reply.has_body = true;
  }
  if (!status.is_none()) {
    reply.status = status.cast<int>();
    reply.message = std::move(text);
    reply.headers = ReadFields<py::str>(trailers);
    reply.last = true;
  }
  Get().Reply(std::move(reply));
  return true;  // no gRPC method of the control plane streams enough to be held back
}

void BindWireServer(py::module_& module) {
  py::class_<PyWireServer>(module, "WireServer")
      .def(py::init<const Runtime&, const py::dict&>(), py::arg("runtime"), py::arg("options"))
      .def("listen", &PyWireServer::Listen, py::arg("kind"), py::arg("host"), py::arg("port"), py::arg("tls"))
      .def("reload_tls", &PyWireServer::ReloadTls)
      .def("start", &PyWireServer::Start)
      .def("announce_drain", &PyWireServer::AnnounceDrain)
      .def("drain", &PyWireServer::Drain)
      .def("close", &PyWireServer::Close)
      .def_property_readonly("connections", &PyWireServer::connections)
      .def_property_readonly("requests", &PyWireServer::requests)
      .def_property_readonly("access_log_dropped", &PyWireServer::access_log_dropped)
      .def("stats", &PyWireServer::Stats)
      .def_property_readonly("fd", &PyWireServer::fd)
      .def("take", &PyWireServer::Take)
      .def("reply_head", &PyWireServer::ReplyHead, py::arg("id"), py::arg("status"), py::arg("headers"))
      .def("reply_body", &PyWireServer::ReplyBody, py::arg("id"), py::arg("body"), py::arg("last"))
      .def("reply_grpc", &PyWireServer::ReplyGrpc, py::arg("id"), py::arg("message"), py::arg("status"),
           py::arg("text"), py::arg("trailers"));
}

}  // namespace falaj

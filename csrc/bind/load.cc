#include "bind/load.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "bind/errors.h"
#include "bind/gil.h"
#include "load/exchange.h"

namespace falaj {
namespace {

using std::chrono::steady_clock;

Nanos SecondsIn(const char* what, double seconds) {
  constexpr double kMost = 1e9;
  if (!(seconds >= 0 && seconds <= kMost)) {
    ThrowIfError(
        InvalidInput(std::string(what) + ": expected 0 to 1e9 seconds, got " + std::to_string(seconds)));
  }
  return Nanos(static_cast<int64_t>(seconds * 1e9));
}

size_t CountIn(const py::dict& options, const char* key) {
  const auto count = options[key].cast<int64_t>();
  if (count < 0)
    ThrowIfError(InvalidInput(std::string(key) + ": expected at least 0, got " + std::to_string(count)));
  return static_cast<size_t>(count);
}

load::Fields ReadFields(const py::handle& from) {
  load::Fields fields;
  for (const py::handle item : from) fields.push_back(item.cast<std::pair<std::string, std::string>>());
  return fields;
}

load::Place::What WhatOf(const std::string& name) {
  if (name == "sequence") return load::Place::What::kSequence;
  if (name == "start") return load::Place::What::kStart;
  if (name == "end") return load::Place::What::kEnd;
  if (name != "slot")
    ThrowIfError(InvalidInput("place '" + name + "': expected sequence, start, end or slot"));
  return load::Place::What::kSlot;
}

// The third of a request's parts, which may be missing.
std::vector<load::Place> ReadPlaces(const py::tuple& request) {
  std::vector<load::Place> places;
  if (request.size() < 3) return places;
  for (const py::handle item : request[2]) {
    const auto [what, as_text, at, base, each] =
        item.cast<std::tuple<std::string, bool, size_t, uint64_t, uint64_t>>();
    places.push_back({WhatOf(what), as_text, at, base, each});
  }
  return places;
}

std::optional<load::SequenceOptions> ReadSequences(const py::dict& from) {
  if (!from.contains("sequences") || from["sequences"].is_none()) return std::nullopt;
  const auto given = from["sequences"].cast<py::dict>();
  const auto number = [&](const char* key) { return given[key].cast<uint64_t>(); };
  return load::SequenceOptions{.live = CountIn(given, "live"),
                               .least_length = number("least_length"),
                               .most_length = number("most_length"),
                               .first_id = number("first_id"),
                               .ids = number("ids")};
}

load::TargetOptions ReadTarget(const py::dict& from) {
  load::TargetOptions target;
  const auto protocol = from["protocol"].cast<std::string>();
  if (protocol != "http" && protocol != "grpc") {
    ThrowIfError(InvalidInput("protocol '" + protocol + "': expected http or grpc"));
  }
  target.protocol = protocol == "http" ? load::Protocol::kHttp : load::Protocol::kGrpc;
  target.host = from["host"].cast<std::string>();
  target.port = from["port"].cast<uint16_t>();
  target.tls = from["tls"].cast<bool>();
  target.ca_file = from["ca_file"].cast<std::string>();
  target.method = from["method"].cast<std::string>();
  target.path = from["path"].cast<std::string>();
  target.headers = ReadFields(from["headers"]);
  for (const py::handle item : from["requests"]) {
    const auto request = item.cast<py::tuple>();
    target.payloads.push_back({ReadFields(request[0]), request[1].cast<std::string>(), ReadPlaces(request)});
  }
  return target;
}

load::Pace PaceOf(const std::string& name) {
  if (name == "closed") return load::Pace::kClosed;
  if (name == "poisson") return load::Pace::kPoisson;
  if (name != "constant")
    ThrowIfError(InvalidInput("pace '" + name + "': expected closed, poisson or constant"));
  return load::Pace::kConstant;
}

load::RunOptions ReadOptions(const py::dict& from) {
  load::RunOptions options;
  options.pace = PaceOf(from["pace"].cast<std::string>());
  options.rate = from["rate"].cast<double>();
  options.concurrency = CountIn(from, "concurrency");
  options.streams = CountIn(from, "streams");
  options.threads = CountIn(from, "threads");
  options.warm_up = SecondsIn("warm_up", from["warm_up"].cast<double>());
  options.window = SecondsIn("window", from["window"].cast<double>());
  options.timeout = SecondsIn("timeout", from["timeout"].cast<double>());
  options.sequences = ReadSequences(from);
  return options;
}

std::shared_ptr<const load::Target> MakeTarget(load::TargetOptions options) {
  Result<std::shared_ptr<const load::Target>> made = Unavailable("");
  {
    const GilRelease release;  // names are resolved
    made = load::Target::Make(std::move(options));
  }
  return ValueOrThrow(std::move(made));
}

py::dict ToPython(load::Window window) {
  using namespace pybind11::literals;
  py::dict errors;
  for (const auto& [kind, row] : window.tally.errors.rows()) {
    errors[py::str(load::NameOf(kind))] = py::make_tuple(row.count, row.text);
  }
  return py::dict("seconds"_a = window.seconds, "cpu_seconds"_a = window.cpu_seconds,
                  "unsent"_a = window.unsent, "answered"_a = window.tally.answered,
                  "sequences"_a = window.tally.sequences, "sequences_left"_a = window.sequences_left,
                  "reconnects"_a = window.tally.reconnects, "errors"_a = errors,
                  "latency"_a = py::cast(std::move(window.tally.latency)),
                  "late"_a = py::cast(std::move(window.tally.late)));
}

py::tuple ExchangeOnce(const py::dict& target, double timeout, size_t most_bytes) {
  load::TargetOptions options = ReadTarget(target);
  options.keep = most_bytes;
  const auto made = MakeTarget(std::move(options));
  const Nanos limit = SecondsIn("timeout", timeout);
  Result<load::Reply> reply = Unavailable("");
  {
    const GilRelease release;
    reply = load::Exchange(made, limit);
  }
  const load::Reply got = ValueOrThrow(std::move(reply));
  return py::make_tuple(got.status, py::bytes(got.body), py::bytes(got.text));
}

}  // namespace

PyLoadRun::PyLoadRun(const py::dict& target, const py::dict& options) {
  const load::RunOptions how = ReadOptions(options);
  const auto made = MakeTarget(ReadTarget(target));
  Result<std::unique_ptr<load::LoadRun>> run = Unavailable("");
  {
    const GilRelease release;
    run = load::LoadRun::Start(made, how);
  }
  run_ = ForkGuarded<load::LoadRun>(std::shared_ptr<load::LoadRun>(ValueOrThrow(std::move(run))));
}

PyLoadRun::~PyLoadRun() {
  if (!run_.usable()) return;
  const GilRelease release;  // its threads are joined
  run_ = ForkGuarded<load::LoadRun>();
}

load::LoadRun& PyLoadRun::Get() const {
  if (!run_.usable()) ThrowIfError(Unavailable("a load belongs to the process that began it"));
  return *run_.get();
}

py::object PyLoadRun::Next(double timeout) {
  load::LoadRun& run = Get();
  const Nanos limit = SecondsIn("timeout", timeout);
  std::optional<load::Window> window;
  {
    const GilRelease release;
    window = run.Next(steady_clock::now() + limit);
  }
  if (!window) return py::none();
  return ToPython(std::move(*window));
}

py::dict PyLoadRun::Stop(double grace) {
  load::LoadRun& run = Get();
  const Nanos limit = SecondsIn("grace", grace);
  load::Window rest;
  {
    const GilRelease release;
    rest = run.Stop(limit);
  }
  return ToPython(std::move(rest));
}

void BindLoad(py::module_& module) {
  py::class_<load::LatencyHistogram>(module, "LatencyHistogram")
      .def(py::init<>())
      .def(
          "add",
          [](load::LatencyHistogram& self, int64_t nanoseconds) {
            self.Add(std::chrono::nanoseconds(nanoseconds));
          },
          py::arg("nanoseconds"))
      .def("merge", &load::LatencyHistogram::Merge, py::arg("other"))
      .def("quantile_us", &load::LatencyHistogram::QuantileUs, py::arg("q"))
      .def_property_readonly("count", &load::LatencyHistogram::count)
      .def_property_readonly("mean_us", &load::LatencyHistogram::MeanUs)
      .def_property_readonly("max_us", &load::LatencyHistogram::MaxUs);
  py::class_<PyLoadRun>(module, "LoadRun")
      .def(py::init<const py::dict&, const py::dict&>(), py::arg("target"), py::arg("options"))
      .def("next", &PyLoadRun::Next, py::arg("timeout"))
      .def("stop", &PyLoadRun::Stop, py::arg("grace"));
  module.def("exchange", &ExchangeOnce, py::arg("target"), py::arg("timeout"), py::arg("most_bytes"));
}

}  // namespace falaj

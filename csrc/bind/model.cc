#include "bind/model.h"

#include <malloc.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>

#include "backend/ort_backend.h"
#include "backend/trial.h"
#include "bind/errors.h"
#include "bind/gil.h"
#include "bind/python_backend.h"

namespace falaj {
namespace {

Nanos Seconds(double seconds) { return Nanos(static_cast<int64_t>(seconds * 1e9)); }

// (name, datatype, shape, symbols, optional)
py::list ToPython(const std::vector<TensorSpec>& specs) {
  py::list list;
  for (const TensorSpec& spec : specs) {
    list.append(py::make_tuple(spec.name, DataTypeName(spec.type), py::tuple(py::cast(spec.shape)),
                               py::tuple(py::cast(spec.symbols)), spec.optional));
  }
  return list;
}

// (name, datatype, shape), and perhaps whether it is optional
std::vector<TensorSpec> FromPython(const py::handle& list) {
  std::vector<TensorSpec> specs;
  for (const py::handle item : list) {
    const auto row = item.cast<py::tuple>();
    TensorSpec spec;
    spec.name = row[0].cast<std::string>();
    const auto type_name = row[1].cast<std::string>();
    const auto type = ParseDataType(type_name);
    if (!type)
      ThrowIfError(InvalidInput("tensor '" + spec.name + "': unknown data type '" + type_name + "'"));
    spec.type = *type;
    spec.shape = row[2].cast<std::vector<int64_t>>();
    spec.optional = row.size() > 3 && row[3].cast<bool>();
    if (spec.shape.size() > Shape::kMaxRank) {
      ThrowIfError(Unsupported("tensor '" + spec.name + "': more than 8 dimensions"));
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

std::optional<Nanos> OptionalSeconds(const py::handle& value) {
  if (value.is_none()) return std::nullopt;
  return Seconds(value.cast<double>());
}

// Arrays for every spec, in order; `tensors` keeps the memory of `views`.
void ReadViews(const std::vector<TensorSpec>& specs, const py::dict& inputs, const py::object& convert,
               std::vector<py::array>& arrays, std::vector<InputTensor>& tensors,
               std::vector<TensorView>& views) {
  for (const TensorSpec& spec : specs) {
    const py::str name(spec.name);
    if (!inputs.contains(name)) ThrowIfError(InvalidInput("input '" + spec.name + "' is missing"));
    InputTensor input = ReadInput(inputs[name], spec, convert, "input '" + spec.name + "': ");
    TensorView view{input.type, input.shape, nullptr};
    if (input.type == DataType::kBytes) {
      view.data = input.elements.data();
    } else if (input.ready != nullptr) {
      view.data = const_cast<void*>(input.ready);
    } else {
      arrays.push_back(py::array::ensure(input.strided, py::array::c_style | py::array::forcecast));
      view.data = const_cast<void*>(arrays.back().data());
    }
    tensors.push_back(std::move(input));
    if (view.type == DataType::kBytes) view.data = tensors.back().elements.data();
    views.push_back(view);
  }
}

PyBackend LoadOnnx(const std::string& library_path, const std::string& path, int threads,
                   const std::vector<std::pair<std::string, std::map<std::string, std::string>>>& providers,
                   const std::map<std::string, std::string>& session, const std::string& optimization,
                   bool beside_traffic, const std::string& custom_operators) {
  OrtOptions options;
  options.custom_operators = custom_operators;
  options.intra_op_threads = threads;
  options.optimization = optimization;
  options.session.assign(session.begin(), session.end());
  for (const auto& [name, entries] : providers) {
    options.providers.push_back({name, {entries.begin(), entries.end()}});
  }
  std::vector<std::string> fallbacks;
  Result<std::unique_ptr<Backend>> backend = Status();
  Share share = Share::kFull;
  {
    const GilRelease release;
    if (beside_traffic) share = ShareBesideTraffic();
    RunWithShare(share, [&] {
      auto library = OrtLibrary::Open(library_path);
      if (!library.ok()) {
        backend = library.status();
      } else {
        backend = LoadOrtBackend(library.value(), path, options, &fallbacks);
      }
    });
  }
  return PyBackend(ValueOrThrow(std::move(backend)), std::move(fallbacks), share);
}

py::list HistogramOf(const std::array<uint64_t, Histogram::kBins>& bins) {
  py::list rows;
  for (size_t i = 0; i < bins.size(); ++i) {
    if (bins[i] > 0) rows.append(py::make_tuple(Histogram::UpperBound(i), bins[i]));
  }
  return rows;
}

// (rows, batches, assemble_ns, run_ns, deliver_ns) of each size of batch that ran
py::list SizesOf(const std::vector<BatchSizeStats>& sizes) {
  py::list rows;
  for (const BatchSizeStats& size : sizes) {
    if (size.batches == 0) continue;
    rows.append(py::make_tuple(size.rows, size.batches, size.assemble_ns, size.run_ns, size.deliver_ns));
  }
  return rows;
}

}  // namespace

BatcherOptions ReadOptions(const py::dict& from) {
  BatcherOptions options;
  options.model = from["model"].cast<std::string>();
  options.version = from["version"].cast<int64_t>();
  options.signature = {FromPython(from["inputs"]), FromPython(from["outputs"])};
  for (const auto& [name, labels] : from["labels"].cast<py::dict>()) {
    const int index = options.signature.OutputIndex(name.cast<std::string>());
    options.signature.outputs.at(static_cast<size_t>(index)).labels = labels.cast<std::vector<std::string>>();
  }
  for (const py::handle item : from["input_plan"]) {
    const auto row = item.cast<py::tuple>();
    options.inputs.push_back(
        {row[0].cast<int>(), row[1].cast<bool>(), row[2].cast<int>(), row[3].cast<double>()});
    options.mask_types.push_back(ParseDataType(row[4].cast<std::string>()).value_or(DataType::kInt64));
  }
  for (const py::handle item : from["output_plan"]) {
    const auto row = item.cast<py::tuple>();
    options.outputs.push_back({row[0].cast<bool>(), row[1].cast<int>(), row[2].cast<int>()});
  }
  options.max_batch_rows = from["max_batch_size"].cast<int64_t>();
  options.max_request_rows = from["max_request_rows"].cast<int64_t>();
  options.instances = from["instances"].cast<int>();
  options.cores_per_batch = from["cores_per_batch"].cast<int>();
  options.max_queue_rows = from["max_queue_rows"].cast<int64_t>();
  options.slo = OptionalSeconds(from["slo"]);
  options.levels.clear();
  for (const py::handle item : from["levels"]) {
    const auto row = item.cast<py::tuple>();
    options.levels.push_back({row[0].cast<int64_t>(), OptionalSeconds(row[1]), row[2].cast<bool>()});
  }
  options.default_level = from["default_level"].cast<int>();
  options.run_on_submitter = from["run_on_submitter"].cast<bool>();
  options.tells_members = from["tells_members"].cast<bool>();
  options.decoupled = from["decoupled"].cast<bool>();
  options.needs_elements = from["needs_elements"].cast<bool>();
  if (!from["sequences"].is_none()) {
    const auto row = from["sequences"].cast<py::tuple>();
    options.sequences = {row[0].cast<size_t>(), row[1].cast<size_t>(), Seconds(row[2].cast<double>())};
  }
  options.cache.max_bytes = from["cache_bytes"].cast<size_t>();
  // However short it is, it is one.
  if (const auto ttl = OptionalSeconds(from["cache_ttl"])) options.cache.ttl = std::max(Nanos(1), *ttl);
  return options;
}

PyBackend::PyBackend(std::unique_ptr<Backend> backend, std::vector<std::string> fallbacks, Share share)
    : backend_(std::make_shared<std::unique_ptr<Backend>>(std::move(backend))),
      fallbacks_(std::move(fallbacks)),
      share_(share) {}

Backend& PyBackend::Get() const {
  if (!backend_.usable() || *backend_.get() == nullptr) {
    ThrowIfError(Unavailable("this backend was handed over to a model, or belongs to another process"));
  }
  return **backend_.get();
}

std::unique_ptr<Backend> PyBackend::Release() {
  (void)Get();
  return std::move(*backend_.get());
}

py::list PyBackend::Inputs() const { return ToPython(Get().Describe().inputs); }
py::list PyBackend::Outputs() const { return ToPython(Get().Describe().outputs); }

py::dict PyBackend::Run(const py::dict& inputs, const py::object& convert) {
  Backend& backend = Get();
  std::vector<py::array> arrays;
  std::vector<InputTensor> tensors;
  tensors.reserve(backend.Describe().inputs.size());
  std::vector<TensorView> views;
  ReadViews(backend.Describe().inputs, inputs, convert, arrays, tensors, views);
  std::vector<TensorView> outputs;
  for (const TensorSpec& spec : backend.Describe().outputs) outputs.push_back({spec.type, {}, nullptr});
  std::vector<std::shared_ptr<void>> owners;
  Status status;
  {
    const GilRelease release;
    RunWithShare(share_, [&] {
      auto instance = backend.NewInstance();
      status = instance.ok() ? (*instance)->Run({views, outputs, &owners}) : instance.status();
    });
  }
  ThrowIfError(status);
  py::dict answer;
  for (size_t i = 0; i < outputs.size(); ++i) {
    answer[py::str(backend.Describe().outputs[i].name)] = ToArray(outputs[i]);
  }
  return answer;
}

py::tuple PyBackend::Measure(const py::dict& inputs, int64_t rows, int instances, double seconds,
                             const py::object& convert) {
  Backend& backend = Get();
  std::vector<py::array> arrays;
  std::vector<InputTensor> tensors;
  tensors.reserve(backend.Describe().inputs.size());
  std::vector<TensorView> views;
  ReadViews(backend.Describe().inputs, inputs, convert, arrays, tensors, views);
  Result<TrialResult> result = Status();
  {
    const GilRelease release;
    RunWithShare(share_,
                 [&] { result = MeasureThroughput(backend, views, rows, instances, Seconds(seconds)); });
  }
  const TrialResult trial = ValueOrThrow(std::move(result));
  return py::make_tuple(trial.rows_per_second, static_cast<double>(trial.per_run.count()) / 1e9);
}

PyModel::PyModel(const Runtime& runtime, PyBackend& backend, const py::dict& options)
    : core_(runtime.core()), share_(backend.share()) {
  BatcherOptions read = ReadOptions(options);
  std::unique_ptr<Backend> released = backend.Release();
  Result<std::shared_ptr<Batcher>> made = Status();
  {
    const GilRelease release;
    made = Batcher::Make(std::move(read), std::move(released), &core_->pool, &core_->timer, &core_->clock);
  }
  batcher_ = ForkGuarded<Batcher>(ValueOrThrow(std::move(made)));
}

PyModel::PyModel(const Runtime& runtime, std::shared_ptr<Batcher> batcher)
    : core_(runtime.core()), batcher_(std::move(batcher)), share_(Share::kFull) {}

PyModel::~PyModel() { Close(); }

void PyModel::WarmUp(const py::dict& inputs, int times, int instances, const py::object& convert) {
  std::vector<py::array> arrays;
  std::vector<InputTensor> tensors;
  tensors.reserve(batcher_->signature().inputs.size());
  std::vector<TensorView> views;
  ReadViews(batcher_->signature().inputs, inputs, convert, arrays, tensors, views);
  Status status;
  {
    const GilRelease release;
    RunWithShare(share_, [&] { status = batcher_->WarmUp(views, times, instances); });
  }
  ThrowIfError(status);
}

bool PyModel::WaitForSequences(double seconds) {
  if (!batcher_.usable()) return true;
  const GilRelease release;
  return batcher_->WaitForSequences(core_->clock.Now() + Seconds(seconds));
}

bool PyModel::Drain(double seconds) {
  if (!batcher_.usable()) return true;
  const GilRelease release;
  return batcher_->Drain(core_->clock.Now() + Seconds(seconds));
}

void PyModel::Close() {
  if (!batcher_.usable() || batcher_.get() == nullptr) return;
  // A Python model's end needs the GIL, which is no place to step back.
  const Share share = batcher_->options().cores_per_batch > 0 ? Share::kLow : Share::kFull;
  const GilRelease release;
  RunWithShare(share, [&] {
    batcher_->Close();
    malloc_trim(0);  // a model's weights are freed in pieces that the allocator would otherwise keep
  });
}

double PyModel::EstimatedCost(int64_t rows) const {
  return static_cast<double>(batcher_->EstimatedCost(rows).count()) / 1e9;
}

py::dict PyModel::Stats() const {
  const ModelStats stats = batcher_->Stats();
  using namespace pybind11::literals;
  return py::dict(
      "requests_ok"_a = stats.requests_ok, "requests_failed"_a = stats.requests_failed, "rows"_a = stats.rows,
      "batches"_a = stats.batches, "batches_on_submitter"_a = stats.on_submitter,
      "queue_ns"_a = stats.queue_ns, "assemble_ns"_a = stats.assemble_ns, "run_ns"_a = stats.run_ns,
      "deliver_ns"_a = stats.deliver_ns, "padded_elements"_a = stats.padding_elements,
      "real_elements"_a = stats.elements, "retried_alone"_a = stats.retried_alone,
      "stale_features"_a = stats.stale_features, "ok_request_ns"_a = stats.ok_request_ns,
      "ok_queue_ns"_a = stats.ok_queue_ns, "ok_assemble_ns"_a = stats.ok_assemble_ns,
      "ok_run_ns"_a = stats.ok_run_ns, "ok_deliver_ns"_a = stats.ok_deliver_ns,
      "failed_request_ns"_a = stats.failed_request_ns, "request_ns"_a = stats.request_ns,
      "refused_full"_a = stats.admission.refused_full,
      "refused_deadline"_a = stats.admission.refused_deadline, "refused_slo"_a = stats.admission.refused_slo,
      "refused_invalid"_a = stats.admission.refused_invalid, "expired"_a = stats.admission.expired,
      "cancelled"_a = stats.admission.cancelled, "unloaded"_a = stats.admission.unloaded,
      "waiting_rows"_a = stats.waiting_rows, "waiting_requests"_a = stats.waiting_requests,
      "inflight_requests"_a = stats.inflight_requests, "buffer_bytes"_a = stats.buffer_bytes,
      "model_bytes"_a = stats.model_bytes, "oldest_batch_ns"_a = stats.oldest_batch_ns,
      "request_ns_histogram"_a = HistogramOf(stats.request),
      "queue_ns_histogram"_a = HistogramOf(stats.queue), "run_ns_histogram"_a = HistogramOf(stats.run),
      "batch_rows_histogram"_a = HistogramOf(stats.batch_rows), "batch_sizes"_a = SizesOf(stats.batch_sizes),
      "since_answer_ns"_a = stats.since_answer_ns, "sequences_live"_a = stats.sequences.live,
      "sequences_in_line"_a = stats.sequences.in_line, "sequences_begun"_a = stats.sequences.begun,
      "sequences_ended_idle"_a = stats.sequences.ended_idle, "sequences_refused"_a = stats.sequences.refused,
      "cache_hits"_a = stats.cache.hits, "cache_joined"_a = stats.cache.joined,
      "cache_misses"_a = stats.cache.misses, "cache_skipped"_a = stats.cache.skipped,
      "cache_evicted"_a = stats.cache.evicted, "cache_outdated"_a = stats.cache.outdated,
      "cache_hit_ns"_a = stats.cache.hit_ns, "cache_miss_ns"_a = stats.cache.miss_ns,
      "cache_entries"_a = stats.cache.entries, "cache_bytes"_a = stats.cache.bytes);
}

void BindModel(py::module_& module) {
  py::class_<PyBackend>(module, "Backend")
      .def_property_readonly("inputs", &PyBackend::Inputs)
      .def_property_readonly("outputs", &PyBackend::Outputs)
      .def_property_readonly("placement", &PyBackend::placement)
      .def_property_readonly("fallbacks", &PyBackend::fallbacks)
      .def("run", &PyBackend::Run, py::arg("inputs"), py::arg("convert"))
      .def("measure", &PyBackend::Measure, py::arg("inputs"), py::arg("rows"), py::arg("instances"),
           py::arg("seconds"), py::arg("convert"));
  module.def("load_onnx", &LoadOnnx, py::arg("library"), py::arg("path"), py::arg("threads"),
             py::arg("providers"), py::arg("session"), py::arg("optimization"), py::arg("beside_traffic"),
             py::arg("custom_operators") = "");
  module.def(
      "load_python",
      [](const py::list& inputs, const py::list& outputs, py::object factory, py::object loop, bool streams) {
        return PyBackend(NewPythonBackend({FromPython(inputs), FromPython(outputs)}, std::move(factory),
                                          std::move(loop), streams));
      },
      py::arg("inputs"), py::arg("outputs"), py::arg("factory"), py::arg("loop"), py::arg("streams"));
  module.def(
      "onnxruntime_version",
      [](const std::string& library) { return ValueOrThrow(OrtLibrary::Open(library))->version(); },
      py::arg("library"));
  module.def(
      "onnxruntime_providers",
      [](const std::string& library) { return ValueOrThrow(OrtLibrary::Open(library))->Providers(); },
      py::arg("library"));
  py::class_<PyModel>(module, "Model")
      .def(py::init<const Runtime&, PyBackend&, const py::dict&>(), py::arg("runtime"), py::arg("backend"),
           py::arg("options"))
      .def("warm_up", &PyModel::WarmUp, py::arg("inputs"), py::arg("times"), py::arg("instances"),
           py::arg("convert"))
      .def("wait_for_sequences", &PyModel::WaitForSequences, py::arg("seconds"))
      .def("drain", &PyModel::Drain, py::arg("seconds"))
      .def("close", &PyModel::Close)
      .def("stats", &PyModel::Stats)
      .def("estimated_cost", &PyModel::EstimatedCost, py::arg("rows"));
}

}  // namespace falaj

#include "model_under_test.h"

#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace falaj::bench {
namespace {

void ExitIfError(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

std::vector<float> RandomRow(size_t elements) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> row(elements);
  for (float& value : row) value = normal(generator);
  return row;
}

Shape WithRows(const TensorSpec& spec, int64_t rows) {
  std::vector<int64_t> dims = spec.shape;
  dims[0] = rows;
  return Shape(std::span<const int64_t>(dims));
}

}  // namespace

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::unique_ptr<Backend> ModelUnderTest::Load(const Settings& settings) {
  auto library = OrtLibrary::Open(settings.library);
  ExitIfError(library.status());
  std::vector<std::string> fallbacks;
  OrtOptions options;
  options.intra_op_threads = settings.intra_op;
  auto backend = LoadOrtBackend(library.value(), settings.model, options, &fallbacks);
  ExitIfError(backend.status());
  return std::move(backend).value();
}

ModelUnderTest::ModelUnderTest(const Settings& settings)
    : pool_(settings.instances, &clock_), timer_(&clock_) {
  std::unique_ptr<Backend> backend = Load(settings);
  BatcherOptions options;
  options.model = "bench";
  options.signature = backend->Describe();
  for (size_t i = 0; i < options.signature.inputs.size(); ++i) {
    InputPlan plan;
    plan.source = static_cast<int>(i);
    options.inputs.push_back(plan);
    options.mask_types.push_back(DataType::kInt64);
  }
  options.outputs.resize(options.signature.outputs.size());
  options.max_batch_rows = settings.max_batch;
  options.max_request_rows = settings.max_batch;
  options.instances = settings.instances;
  options.cores_per_batch = settings.intra_op;
  options.max_queue_rows = settings.max_queue_rows;
  if (settings.slo_ms > 0) options.slo = Nanos(static_cast<int64_t>(settings.slo_ms * 1e6));
  row_ = RandomRow(static_cast<size_t>(WithRows(options.signature.inputs[0], 1).Elements().value_or(0)));
  auto batcher = Batcher::Make(std::move(options), std::move(backend), &pool_, &timer_, &clock_);
  ExitIfError(batcher.status());
  batcher_ = std::move(batcher).value();
  for (int64_t rows = 1; rows <= settings.max_batch; rows *= 2) {
    std::vector<float> data;
    for (int64_t i = 0; i < rows; ++i) data.insert(data.end(), row_.begin(), row_.end());
    const TensorView view{DataType::kFp32, ShapeOf(rows), data.data()};
    ExitIfError(batcher_->WarmUp(std::span(&view, 1), 4, settings.instances));
  }
}

ModelUnderTest::~ModelUnderTest() { batcher_->Close(); }

Shape ModelUnderTest::ShapeOf(int64_t rows) const { return WithRows(batcher_->signature().inputs[0], rows); }

Result<RefPtr<Request>> ModelUnderTest::Prepare(const std::shared_ptr<CompletionSink>& sink, uint64_t tag) {
  RefPtr<Request> request = batcher_->NewRequest();
  request->sink = sink;
  request->tag = tag;
  const Shape shape = ShapeOf(1);
  FALAJ_RETURN_IF_ERROR(batcher_->Reserve(*request, std::span(&shape, 1)));
  std::memcpy(request->inputs()[0].data, row_.data(), row_.size() * sizeof(float));
  return request;
}

Status ModelUnderTest::Submit(const std::shared_ptr<CompletionSink>& sink, uint64_t tag) {
  auto request = Prepare(sink, tag);
  if (!request.ok()) return request.status();
  batcher_->Enqueue(request->get());
  return Status::Ok();
}

ModelUnderTest::Bare ModelUnderTest::MeasureBare(const Settings& settings, int64_t rows, int threads) {
  std::unique_ptr<Backend> backend = Load(settings);
  const TensorSpec& in = backend->Describe().inputs[0];
  std::vector<std::jthread> workers;
  std::atomic<int64_t> done{0};
  const double cpu = CpuSeconds();
  const TimePoint begin = std::chrono::steady_clock::now();
  const TimePoint end = begin + Nanos(static_cast<int64_t>(settings.seconds * 1e9));
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      auto instance = std::move(backend->NewInstance()).value();
      TensorView input{in.type, WithRows(in, rows), nullptr};
      std::vector<float> data = RandomRow(static_cast<size_t>(input.elements()));
      input.data = data.data();
      std::vector<TensorView> outputs;
      std::vector<std::vector<float>> memory;
      for (const TensorSpec& spec : backend->Describe().outputs) {
        TensorView view{spec.type, WithRows(spec, rows), nullptr};
        memory.emplace_back(static_cast<size_t>(view.elements()));
        view.data = memory.back().data();
        outputs.push_back(view);
      }
      std::vector<std::shared_ptr<void>> owners;
      int64_t mine = 0;
      while (std::chrono::steady_clock::now() < end) {
        ExitIfError(instance->Run({std::span(&input, 1), outputs, &owners}));
        mine += rows;
      }
      done += mine;
    });
  }
  workers.clear();  // joins
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto total = static_cast<double>(done.load());
  return {(CpuSeconds() - cpu) / total * 1e6, total / wall};
}

}  // namespace falaj::bench

// What the batcher itself costs: requests through a backend that does next to nothing, and its parts alone.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "batch/batcher.h"
#include "batch/decision.h"

namespace falaj {
namespace {

constexpr int64_t kColumns = 32;

class CopyInstance final : public Instance {
 public:
  Status Run(const BatchIo& io) override {
    for (size_t i = 0; i < io.outputs.size(); ++i) {
      std::memcpy(io.outputs[i].data, io.inputs[i].data, io.inputs[i].bytes());
    }
    return Status::Ok();
  }
};

class CopyBackend final : public Backend {
 public:
  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    return std::unique_ptr<Instance>(std::make_unique<CopyInstance>());
  }
  size_t MemoryUsed() const override { return 0; }
  std::string Placement() const override { return "copy"; }

 private:
  static TensorSpec Spec(const char* name) {
    TensorSpec spec;
    spec.name = name;
    spec.type = DataType::kFp32;
    spec.shape = {-1, kColumns};
    return spec;
  }
  const ModelSignature signature_{{Spec("x")}, {Spec("y")}};
};

// Keeps what is delivered until it is taken. Delivery happens on the one thread that asks.
class Collector final : public CompletionSink {
 public:
  Collector() { done_.reserve(1024); }
  void Deliver(std::span<Request* const> done) override {
    done_.insert(done_.end(), done.begin(), done.end());
  }
  size_t Drop() {
    const size_t count = done_.size();
    for (Request* request : done_) request->Unref();
    done_.clear();
    return count;
  }

 private:
  std::vector<Request*> done_;
};

class Bench {
 public:
  Bench() : pool_(1, &clock_), timer_(&clock_) {
    auto backend = std::make_unique<CopyBackend>();
    BatcherOptions options;
    options.model = "copy";
    options.signature = backend->Describe();
    options.inputs.resize(1);
    options.mask_types.push_back(DataType::kInt64);
    options.outputs.resize(1);
    options.max_batch_rows = 64;
    options.max_request_rows = 64;
    auto made = Batcher::Make(std::move(options), std::move(backend), &pool_, &timer_, &clock_);
    if (!made.ok()) std::abort();
    batcher_ = std::move(made).value();
    // Known to be short for any number of rows, so that this thread runs it.
    for (int64_t rows = 1; rows <= 64; rows *= 2) batcher_->Learn(rows, Nanos(1000));
  }
  ~Bench() { batcher_->Close(); }

  Batcher& batcher() { return *batcher_; }
  Collector& collector() { return *collector_; }
  RefPtr<Request> Reserved() {
    RefPtr<Request> request = batcher_->NewRequest();
    request->sink = collector_;
    const Shape shape{1, kColumns};
    if (!batcher_->Reserve(*request, std::span(&shape, 1)).ok()) std::abort();
    std::memcpy(request->inputs()[0].data, row_.data(), sizeof(row_));
    return request;
  }

 private:
  SteadyClock clock_;
  ExecutorPool pool_;
  DeadlineTimer timer_;
  std::shared_ptr<Batcher> batcher_;
  std::shared_ptr<Collector> collector_ = std::make_shared<Collector>();
  std::array<float, kColumns> row_{};
};

void BM_SubmitOne(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) {
    const RefPtr<Request> request = bench.Reserved();
    bench.batcher().Submit(request.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
    if (bench.collector().Drop() != 1) state.SkipWithError("it was not run on this thread");
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SubmitOne);

void BM_EnqueueManyAndFlush(benchmark::State& state) {
  Bench bench;
  const auto count = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    for (size_t i = 0; i < count; ++i) bench.batcher().Enqueue(bench.Reserved().get());
    bench.batcher().Flush(Batcher::RunHere::kIfShort);
    if (bench.collector().Drop() != count) state.SkipWithError("it was not run on this thread in one batch");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_EnqueueManyAndFlush)->Arg(8)->Arg(64);

void BM_ReserveAndDrop(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) benchmark::DoNotOptimize(bench.Reserved());
}
BENCHMARK(BM_ReserveAndDrop);

// `range(0)` one-row requests wait; the second argument is how many shapes they have between them.
void BM_PickBatch(benchmark::State& state) {
  std::vector<Waiting> queue;
  for (int64_t i = 0; i < state.range(0); ++i)
    queue.push_back({1, static_cast<uint64_t>(i % state.range(1))});
  std::vector<uint32_t> picks;
  picks.reserve(queue.size());
  for (auto _ : state) {
    picks.clear();
    PickBatch(queue, 64, picks);
    benchmark::DoNotOptimize(picks.data());
  }
}
BENCHMARK(BM_PickBatch)->Args({1, 1})->Args({64, 1})->Args({1024, 1})->Args({1024, 16});

CostCurve LearnedCurve() {
  CostCurve curve;
  for (int64_t rows = 1; rows <= 128; rows *= 2) curve.Add(rows, Nanos(5000 + 300 * rows));
  return curve;
}

void BM_SplitInto(benchmark::State& state) {
  const CostCurve curve = LearnedCurve();
  for (auto _ : state) benchmark::DoNotOptimize(SplitInto(64, {64, static_cast<int>(state.range(0))}, curve));
}
BENCHMARK(BM_SplitInto)->Arg(1)->Arg(4)->Arg(16);

void BM_CostCurveAdd(benchmark::State& state) {
  CostCurve curve = LearnedCurve();
  int64_t rows = 0;
  for (auto _ : state) {
    rows = rows % 128 + 1;
    curve.Add(rows, Nanos(5000 + 300 * rows));
  }
  benchmark::DoNotOptimize(curve.Estimate(1));
}
BENCHMARK(BM_CostCurveAdd);

void BM_CostCurveEstimate(benchmark::State& state) {
  const CostCurve curve = LearnedCurve();
  int64_t rows = 0;
  for (auto _ : state) {
    rows = rows % 128 + 1;
    benchmark::DoNotOptimize(curve.Estimate(rows));
  }
}
BENCHMARK(BM_CostCurveEstimate);

void BM_SlabGetAndReturn(benchmark::State& state) {
  const ModelSignature signature = CopyBackend().Describe();
  auto layout = SlabLayout::Make(signature.inputs, signature.outputs, 64);
  if (!layout.ok()) std::abort();
  SlabPool slabs(std::move(layout).value(), {8, 4, 0});
  for (auto _ : state) {
    auto slab = slabs.Get(SlabPool::Need::kMay);
    benchmark::DoNotOptimize(slab);
  }
}
BENCHMARK(BM_SlabGetAndReturn);

}  // namespace
}  // namespace falaj

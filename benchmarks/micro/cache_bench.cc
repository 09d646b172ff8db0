// What a kept answer costs beside reading its request (BM_Hit's hit_ns), and of that the digest alone.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "batch/batcher.h"
#include "batch/input_digest.h"
#include "wire/json_decoder.h"

namespace falaj {
namespace {

class CopyInstance final : public Instance {
 public:
  Status Run(const BatchIo& io) override {
    std::memcpy(io.outputs[0].data, io.inputs[0].data, io.inputs[0].bytes());
    return Status::Ok();
  }
};

class CopyBackend final : public Backend {
 public:
  explicit CopyBackend(int64_t columns) : signature_{{Spec("x", columns)}, {Spec("y", columns)}} {}
  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    return std::unique_ptr<Instance>(std::make_unique<CopyInstance>());
  }
  size_t MemoryUsed() const override { return 0; }
  std::string Placement() const override { return "copy"; }

 private:
  static TensorSpec Spec(const char* name, int64_t columns) {
    TensorSpec spec;
    spec.name = name;
    spec.shape = {-1, columns};
    return spec;
  }
  const ModelSignature signature_;
};

// Drops what is delivered.
class Dropping final : public CompletionSink {
 public:
  void Deliver(std::span<Request* const> done) override {
    for (Request* request : done) request->Unref();
  }
};

// A model with a cache, and one request in JSON that is sent again and again.
class Bench {
 public:
  explicit Bench(int64_t columns) : pool_(1, &clock_), timer_(&clock_), shape_{1, columns} {
    auto backend = std::make_unique<CopyBackend>(columns);
    BatcherOptions options;
    options.model = "copy";
    options.signature = backend->Describe();
    options.inputs.resize(1);
    options.mask_types.push_back(DataType::kInt64);
    options.outputs.resize(1);
    options.max_batch_rows = 64;
    options.max_request_rows = 64;
    options.cache.max_bytes = size_t{64} << 20;
    auto made = Batcher::Make(std::move(options), std::move(backend), &pool_, &timer_, &clock_);
    if (!made.ok()) std::abort();
    batcher_ = std::move(made).value();
    batcher_->Learn(1, Nanos(1000));
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    json_ =
        R"({"inputs":[{"name":"x","shape":[1,)" + std::to_string(columns) + R"(],"datatype":"FP32","data":[)";
    for (int64_t i = 0; i < columns; ++i) json_ += (i > 0 ? "," : "") + std::to_string(normal(random));
    json_ += "]}]}";
    size_ = json_.size();
    json_.append(wire::JsonDecoder::kPadding, ' ');
  }
  ~Bench() { batcher_->Close(); }

  // Reads the request into the batch's rows.
  RefPtr<Request> Read() {
    if (!decoder_.Parse(std::string_view(json_).substr(0, size_), {}).ok()) std::abort();
    RefPtr<Request> request = batcher_->NewRequest();
    request->sink = sink_;
    if (!batcher_->Reserve(*request, std::span(&shape_, 1)).ok()) std::abort();
    if (!decoder_.Fill(request->inputs(), nullptr).ok()) std::abort();
    return request;
  }
  void Submit(Request* request) {
    batcher_->Submit(request, Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
  }
  uint64_t hits() const { return batcher_->Stats().cache.hits; }

 private:
  SteadyClock clock_;
  ExecutorPool pool_;
  DeadlineTimer timer_;
  const Shape shape_;
  std::shared_ptr<Batcher> batcher_;
  std::shared_ptr<CompletionSink> sink_ = std::make_shared<Dropping>();
  wire::JsonDecoder decoder_;
  std::string json_;
  size_t size_ = 0;
};

// Medians, which an interrupted iteration does not move.
uint32_t MedianOf(std::vector<uint32_t>& samples) {
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

// read_ns: parsing, and what a model without a cache does too until the request is submitted. hit_ns: from
// there until the kept answer is delivered (digest, look-up, delivery), which is what a hit costs beside
// parsing. Each includes one reading of the clock. The benchmark's own time is hit_ns' mean.
void BM_Hit(benchmark::State& state) {
  using Clock = std::chrono::steady_clock;
  const auto nanos = [](Clock::duration time) { return static_cast<uint32_t>(Nanos(time).count()); };
  Bench bench(state.range(0));
  bench.Submit(bench.Read().get());
  constexpr size_t kMostSamples = size_t{1} << 20;
  std::vector<uint32_t> read, hit;
  read.reserve(kMostSamples);
  hit.reserve(kMostSamples);
  for (auto _ : state) {
    const auto begin = Clock::now();
    RefPtr<Request> request = bench.Read();
    const auto submitted = Clock::now();
    bench.Submit(request.get());
    const auto answered = Clock::now();
    state.SetIterationTime(std::chrono::duration<double>(answered - submitted).count());
    if (read.size() == kMostSamples) continue;
    read.push_back(nanos(submitted - begin));
    hit.push_back(nanos(answered - submitted));
  }
  if (bench.hits() != static_cast<uint64_t>(state.iterations())) state.SkipWithError("it was run");
  state.counters["read_ns"] = MedianOf(read);
  state.counters["hit_ns"] = MedianOf(hit);
}
BENCHMARK(BM_Hit)->UseManualTime()->Arg(32)->Arg(256)->Arg(1024)->Arg(4096);

void BM_Digest(benchmark::State& state) {
  std::vector<std::byte> data(static_cast<size_t>(state.range(0)));
  const TensorView view{DataType::kUint8, Shape{state.range(0)}, data.data()};
  const auto hash = InputHash::Make().value();
  for (auto _ : state) benchmark::DoNotOptimize(hash->Of(std::span(&view, 1)));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Digest)->Arg(16)->Arg(128)->Arg(1024)->Arg(4096)->Arg(16384)->Arg(600 * 1024);

// On a thread that serves two models that keep answers by turns.
void BM_DigestByTurns(benchmark::State& state) {
  std::vector<std::byte> data(static_cast<size_t>(state.range(0)));
  const TensorView view{DataType::kUint8, Shape{state.range(0)}, data.data()};
  const std::array hashes{InputHash::Make().value(), InputHash::Make().value()};
  size_t turn = 0;
  for (auto _ : state) benchmark::DoNotOptimize(hashes[turn++ % 2]->Of(std::span(&view, 1)));
}
BENCHMARK(BM_DigestByTurns)->Arg(128)->Arg(4096);

}  // namespace
}  // namespace falaj

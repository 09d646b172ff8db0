// The in-place path allocates nothing per request after warm-up: counted by replacing operator new. What ONNX
// Runtime allocates inside a run is its own affair, and not counted.
// Not under the sanitizers, whose own operator new it would hide.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "backend/ort_backend.h"
#include "fakes/allocations.h"
#include "fakes/model_fixture.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};
thread_local bool inside_runtime = false;

void* Allocate(size_t bytes, size_t alignment) {
  if (counting.load(std::memory_order_relaxed) && !inside_runtime) {
    allocations.fetch_add(1, std::memory_order_relaxed);
  }
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(bytes)
                     : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  return memory;
}

void* AllocateOrThrow(size_t bytes, size_t alignment) {
  void* memory = Allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t bytes) { return AllocateOrThrow(bytes, 0); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return AllocateOrThrow(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return Allocate(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace falaj::test {

int64_t CountAllocations(const std::function<void()>& work) {
  const int64_t before = allocations.load();
  counting = true;
  work();
  counting = false;
  return allocations.load() - before;
}

namespace {

// Counts answers and drops them, without a container.
class DroppingSink final : public CompletionSink {
 public:
  void Deliver(std::span<Request* const> done) override {
    for (Request* request : done) request->Unref();
    MutexLock lock(mu_);
    delivered_ += done.size();
    changed_.NotifyAll();
  }
  void WaitFor(size_t requests) {
    MutexLock lock(mu_);
    while (delivered_ < requests) changed_.Wait(mu_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  size_t delivered_ GUARDED_BY(mu_) = 0;
};

// A backend of which only what Falaj does around its runs is counted.
class Uncounted final : public Backend {
 public:
  explicit Uncounted(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  const ModelSignature& Describe() const override { return backend_->Describe(); }
  size_t MemoryUsed() const override { return backend_->MemoryUsed(); }
  std::string Placement() const override { return backend_->Placement(); }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    auto instance = backend_->NewInstance();
    if (!instance.ok()) return instance.status();
    return std::unique_ptr<Instance>(std::make_unique<UncountedInstance>(std::move(instance).value()));
  }

 private:
  class UncountedInstance final : public Instance {
   public:
    explicit UncountedInstance(std::unique_ptr<Instance> instance) : instance_(std::move(instance)) {}
    Status Run(const BatchIo& io) override {
      inside_runtime = true;
      Status status = instance_->Run(io);
      inside_runtime = false;
      return status;
    }

   private:
    std::unique_ptr<Instance> instance_;
  };
  std::unique_ptr<Backend> backend_;
};

// Requests in bursts, so that batches form. `from` and `to` are multiples of `burst`.
int64_t AllocationsOf(Batcher& batcher, const std::shared_ptr<DroppingSink>& sink, size_t from, size_t to,
                      size_t burst) {
  const Shape shape{1, batcher.signature().inputs[0].shape[1]};
  return CountAllocations([&] {
    for (size_t i = from; i < to; ++i) {
      const RefPtr<Request> request = batcher.NewRequest();
      request->sink = sink;
      if (!batcher.Reserve(*request, std::span(&shape, 1)).ok()) std::abort();
      std::fill_n(static_cast<float*>(request->inputs()[0].data), shape[1], 1.0f);
      batcher.Enqueue(request.get());
      if ((i + 1) % burst == 0) {
        batcher.Flush(Batcher::RunHere::kIfShort);
        sink->WaitFor(i + 1);
      }
    }
  });
}

// A model on two executors, warmed up with every size of batch that comes.
void ExpectNone(BatcherOptions options, std::unique_ptr<Backend> backend) {
  SteadyClock clock;
  ExecutorPool pool(2, &clock);
  DeadlineTimer timer(&clock);
  options.instances = 2;
  auto made = Batcher::Make(std::move(options), std::move(backend), &pool, &timer, &clock);
  ASSERT_TRUE(made.ok()) << made.status().message();
  Batcher& batcher = **made;
  for (int64_t rows = 1; rows <= 8; rows *= 2) batcher.Learn(rows, Nanos(1000));
  const auto sink = std::make_shared<DroppingSink>();
  // The pools grow to the most that was ever under way at once, which the warm-up makes more than what
  // follows.
  AllocationsOf(batcher, sink, 0, 1600, 160);
  EXPECT_EQ(AllocationsOf(batcher, sink, 1600, 11'200, 16), 0);
  EXPECT_EQ(batcher.Stats().on_submitter > 0, batcher.options().run_on_submitter);
  batcher.Close();
}

class Allocations : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Batcher, Allocations, testing::Bool());

TEST_P(Allocations, AreNoneForARequestInPlaceAfterWarmUp) {
  BatcherOptions options = DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})});
  options.run_on_submitter = GetParam();
  const ModelSignature signature = options.signature;
  ExpectNone(std::move(options), std::make_unique<FakeBackend>(signature, nullptr));
}

TEST_P(Allocations, AreNoneAroundTheRunsOfONNXRuntime) {
  const char* library = std::getenv("FALAJ_TEST_ONNXRUNTIME");
  const char* model = std::getenv("FALAJ_TEST_MODEL");
  ASSERT_TRUE(library != nullptr && model != nullptr) << "the environment names them in `make test`";
  auto opened = OrtLibrary::Open(library);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  std::vector<std::string> fallbacks;
  auto backend = LoadOrtBackend(opened.value(), model, {}, &fallbacks);
  ASSERT_TRUE(backend.ok()) << backend.status().message();
  BatcherOptions options = DefaultOptions((*backend)->Describe().inputs, (*backend)->Describe().outputs);
  options.run_on_submitter = GetParam();
  ExpectNone(std::move(options), std::make_unique<Uncounted>(std::move(backend).value()));
}

}  // namespace
}  // namespace falaj::test

#endif

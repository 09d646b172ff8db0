// The in-place path allocates nothing per request after warm-up: counted by replacing operator new.
// Not under the sanitizers, whose own operator new it would hide.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 sees an overlap in std::string where there is none (GCC bug 105651) once operator new is ours.
#pragma GCC diagnostic ignored "-Wrestrict"
#endif

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "fakes/model_fixture.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};

void* Allocate(size_t bytes, size_t alignment) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
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

// Requests in bursts of 16, so that batches form.
int64_t AllocationsOf(ModelFixture& model, const std::shared_ptr<DroppingSink>& sink, size_t from,
                      size_t to) {
  const Shape shape{1, 2};
  const int64_t before = allocations.load();
  counting = true;
  for (size_t i = from; i < to; ++i) {
    const RefPtr<Request> request = model.batcher->NewRequest();
    request->sink = sink;
    if (!model.batcher->Reserve(*request, std::span(&shape, 1)).ok()) std::abort();
    std::fill_n(static_cast<float*>(request->inputs()[0].data), 2, 1.0f);
    model.batcher->Enqueue(request.get());
    if (i % 16 == 15) {
      model.batcher->Flush(Batcher::RunHere::kIfShort);
      sink->WaitFor(i + 1 - from % 16);
    }
  }
  counting = false;
  return allocations.load() - before;
}

class Allocations : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Batcher, Allocations, testing::Bool());

TEST_P(Allocations, AreNoneForARequestInPlaceAfterWarmUp) {
  BatcherOptions options = DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})});
  options.run_on_submitter = GetParam();
  ModelFixture model(std::move(options));
  for (int64_t rows = 1; rows <= 8; rows *= 2) model.batcher->Learn(rows, Nanos(1000));
  // The script records batches, which allocates: not part of what is counted here.
  auto quiet = Batcher::Make(DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})}),
                             std::make_unique<FakeBackend>(model.batcher->signature(), nullptr), &model.pool,
                             &model.timer, &model.clock);
  ASSERT_TRUE(quiet.ok());
  model.batcher->Close();
  model.batcher = quiet.value();
  const auto sink = std::make_shared<DroppingSink>();
  AllocationsOf(model, sink, 0, 1600);
  EXPECT_EQ(AllocationsOf(model, sink, 1600, 11'200), 0);
}

}  // namespace
}  // namespace falaj::test

#endif

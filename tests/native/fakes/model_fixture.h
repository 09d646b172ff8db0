// A batcher on a fake backend, and a sink that counts every delivery.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <vector>

#include "batch/batcher.h"
#include "fakes/fake_backend.h"
#include "fakes/shifted_clock.h"

namespace falaj::test {

class CollectingSink final : public CompletionSink {
 public:
  // Called at the beginning of each delivery. Set it before the first request.
  std::function<void()> on_delivery;

  void Deliver(std::span<Request* const> done) override {
    if (on_delivery) on_delivery();
    MutexLock lock(mu_);
    ++calls_;
    for (Request* request : done) {
      ++times_[request->tag];
      order_.push_back(request->tag);
      codes_[request->tag] = request->status().code();
      stale_[request->tag] = request->features_stale();
      if (request->status().ok()) {
        const TensorView& view = request->outputs()[0];
        if (view.type == DataType::kFp32 && view.elements() > 0) {
          const auto* values = static_cast<const float*>(view.data);
          values_[request->tag].assign(values, values + view.elements());
        }
        shapes_[request->tag] = view.shape;
      }
      request->Unref();
    }
    changed_.NotifyAll();
  }
  void WaitFor(size_t requests) {
    MutexLock lock(mu_);
    while (order_.size() < requests) changed_.Wait(mu_);
  }
  std::map<uint64_t, int> times() const { return Copy(times_); }
  std::vector<uint64_t> order() const { return Copy(order_); }
  Code code(uint64_t tag) const { return Copy(codes_).at(tag); }
  std::vector<float> values(uint64_t tag) const { return Copy(values_).at(tag); }
  bool stale(uint64_t tag) const { return Copy(stale_).at(tag); }
  Shape shape(uint64_t tag) const { return Copy(shapes_).at(tag); }
  int calls() const { return Copy(calls_); }

 private:
  template <typename T>
  T Copy(const T& value) const {
    MutexLock lock(mu_);
    return value;
  }

  mutable Mutex mu_;
  CondVar changed_;
  std::map<uint64_t, int> times_;
  std::vector<uint64_t> order_;
  std::map<uint64_t, Code> codes_;
  std::map<uint64_t, bool> stale_;
  std::map<uint64_t, std::vector<float>> values_;
  std::map<uint64_t, Shape> shapes_;
  int calls_ = 0;
};

inline TensorSpec Spec(std::string name, std::vector<int64_t> shape, DataType type = DataType::kFp32) {
  return {std::move(name), type, std::move(shape), {}};
}

// Options of a model x -> y that batches up to 8 rows on one instance, never on the submitter.
inline BatcherOptions DefaultOptions(std::vector<TensorSpec> inputs, std::vector<TensorSpec> outputs) {
  BatcherOptions options;
  options.model = "m";
  options.version = 3;
  options.signature = {std::move(inputs), std::move(outputs)};
  for (size_t i = 0; i < options.signature.inputs.size(); ++i) {
    InputPlan plan;
    plan.source = static_cast<int>(i);
    options.inputs.push_back(plan);
    options.mask_types.push_back(DataType::kInt64);
  }
  options.outputs.resize(options.signature.outputs.size());
  options.max_batch_rows = 8;
  options.max_request_rows = 8;
  options.run_on_submitter = false;
  return options;
}

class ModelFixture {
 public:
  explicit ModelFixture(BatcherOptions options, int cores = 2) : pool(cores, &clock), timer(&clock) {
    // The backend's inputs include masks, which requests do not carry.
    ModelSignature backend = options.signature;
    while (backend.inputs.size() < options.inputs.size()) {
      backend.inputs.push_back(Spec("mask", {-1, -1}, DataType::kInt64));
    }
    auto made = Batcher::Make(std::move(options), std::make_unique<FakeBackend>(backend, &script), &pool,
                              &timer, &clock);
    EXPECT_TRUE(made.ok()) << made.status().message();
    batcher = std::move(made).value();
  }
  ~ModelFixture() {
    script.OpenGate();
    batcher->Close();
  }

  // Admits and fills a request of FP32 rows; all its values are `value`.
  Result<RefPtr<Request>> Prepare(uint64_t tag, std::vector<Shape> shapes, float value, int priority = 0,
                                  TimePoint deadline = TimePoint::max()) {
    RefPtr<Request> request = batcher->NewRequest();
    request->sink = sink;
    request->tag = tag;
    request->priority = priority;
    request->deadline = deadline;
    FALAJ_RETURN_IF_ERROR(batcher->Reserve(*request, shapes));
    for (TensorView& view : request->inputs()) {
      if (view.type == DataType::kFp32) std::fill_n(static_cast<float*>(view.data), view.elements(), value);
      if (view.type == DataType::kInt64) {
        std::fill_n(static_cast<int64_t*>(view.data), view.elements(), static_cast<int64_t>(value));
      }
    }
    return request;
  }
  RefPtr<Request> Ask(uint64_t tag, std::vector<Shape> shapes, float value, int priority = 0,
                      TimePoint deadline = TimePoint::max()) {
    auto request = Prepare(tag, std::move(shapes), value, priority, deadline);
    EXPECT_TRUE(request.ok()) << request.status().message();
    batcher->Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
    return *request;
  }

  ShiftedClock clock;
  ExecutorPool pool;
  DeadlineTimer timer;
  Script script;
  std::shared_ptr<CollectingSink> sink = std::make_shared<CollectingSink>();
  std::shared_ptr<Batcher> batcher;
};

}  // namespace falaj::test

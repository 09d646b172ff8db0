// A stateful model in arithmetic: y = sum of x since the sequence began; and what it was told beside.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "backend/sequence_backend.h"
#include "core/mutex.h"
#include "fakes/fake_backend.h"

namespace falaj::test {

// What the model got in one run, row by row.
struct AccumulatorRun {
  std::vector<float> x, sum_in;
  std::vector<int32_t> start, end, ready;
  std::vector<uint64_t> id;
};

// Thread-safe.
class AccumulatorScript {
 public:
  Script gate;
  void Add(AccumulatorRun run) {
    MutexLock lock(mu_);
    runs_.push_back(std::move(run));
  }
  std::vector<AccumulatorRun> runs() const {
    MutexLock lock(mu_);
    return runs_;
  }

 private:
  mutable Mutex mu_;
  std::vector<AccumulatorRun> runs_ GUARDED_BY(mu_);
};

// Inputs x, start, end, ready, id, sum_in; outputs y, sum_out. An x of kPoison fails the run.
class AccumulatorInstance final : public Instance {
 public:
  explicit AccumulatorInstance(AccumulatorScript* script) : script_(script) {}

  Status Run(const BatchIo& io) override {
    script_->gate.Enter(io);
    const auto rows = static_cast<size_t>(io.inputs[0].shape[0]);
    AccumulatorRun run;
    Copy(io.inputs[0], rows, run.x);
    Copy(io.inputs[1], rows, run.start);
    Copy(io.inputs[2], rows, run.end);
    Copy(io.inputs[3], rows, run.ready);
    Copy(io.inputs[4], rows, run.id);
    Copy(io.inputs[5], rows, run.sum_in);
    script_->Add(run);
    for (TensorView& out : io.outputs) {
      if (out.data != nullptr) continue;
      auto memory = std::make_shared<std::vector<float>>(rows);
      out.shape = {static_cast<int64_t>(rows), 1};
      out.data = memory->data();
      io.owners->push_back(std::move(memory));
    }
    for (size_t row = 0; row < rows; ++row) {
      if (run.x[row] == kPoison) return InvalidInput("poisoned");
      const float sum = run.sum_in[row] + run.x[row];
      for (TensorView& out : io.outputs) static_cast<float*>(out.data)[row] = sum;
    }
    return Status::Ok();
  }

 private:
  template <typename T>
  static void Copy(const TensorView& view, size_t rows, std::vector<T>& to) {
    to.assign(static_cast<const T*>(view.data), static_cast<const T*>(view.data) + rows);
  }
  AccumulatorScript* const script_;
};

class AccumulatorBackend final : public Backend {
 public:
  explicit AccumulatorBackend(AccumulatorScript* script) : script_(script) {
    const auto spec = [](const char* name, DataType type) { return TensorSpec{name, type, {-1, 1}, {}}; };
    signature_.inputs = {spec("x", DataType::kFp32),    spec("start", DataType::kInt32),
                         spec("end", DataType::kInt32), spec("ready", DataType::kInt32),
                         spec("id", DataType::kUint64), spec("sum_in", DataType::kFp32)};
    signature_.outputs = {spec("y", DataType::kFp32), spec("sum_out", DataType::kFp32)};
  }
  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    return std::unique_ptr<Instance>(std::make_unique<AccumulatorInstance>(script_));
  }
  size_t MemoryUsed() const override { return 1; }
  std::string Placement() const override { return "fake"; }

 private:
  ModelSignature signature_;
  AccumulatorScript* const script_;
};

inline SequencePlan AccumulatorPlan() {
  using Kind = SequenceControl::Kind;
  SequencePlan plan;
  plan.inputs = {0};
  plan.outputs = {0};
  plan.controls = {{Kind::kStart, 1, 0, 1}, {Kind::kEnd, 2, 0, 1}, {Kind::kReady, 3, -5, 7}, {Kind::kId, 4}};
  plan.values = {{5, 1, Shape{1}, {}}};
  plan.batches = true;
  return plan;
}

}  // namespace falaj::test

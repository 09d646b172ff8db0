// A backend with arithmetic instead of a model: y = 2x + 1 per element, watched and disturbed by tests.
#pragma once

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "core/mutex.h"

namespace falaj::test {

// What a test sees and steers. Thread-safe.
class Script {
 public:
  // While closed, runs wait at the gate.
  void CloseGate() {
    MutexLock lock(mu_);
    open_ = false;
  }
  void OpenGate() {
    MutexLock lock(mu_);
    open_ = true;
    changed_.NotifyAll();
  }
  void WaitUntilEntered(int runs) {
    MutexLock lock(mu_);
    while (entered_ < runs) changed_.Wait(mu_);
  }
  void Enter(const BatchIo& io) {
    MutexLock lock(mu_);
    ++entered_;
    const Shape& shape = io.inputs[0].shape;
    rows_.push_back(shape.rank() > 0 ? shape[0] : 1);
    if (io.inputs[0].type == DataType::kFp32 && io.inputs[0].elements() > 0) {
      first_.push_back(*static_cast<const float*>(io.inputs[0].data));
    }
    read_.push_back(io.inputs[0].data);
    written_.push_back(io.outputs[0].data);
    changed_.NotifyAll();
    while (!open_) changed_.Wait(mu_);
  }
  std::vector<int64_t> rows() const {
    MutexLock lock(mu_);
    return rows_;
  }
  std::vector<float> first() const {
    MutexLock lock(mu_);
    return first_;
  }
  // Where the first input and output of each run lay; null: the backend's own memory.
  std::vector<const void*> read() const {
    MutexLock lock(mu_);
    return read_;
  }
  std::vector<const void*> written() const {
    MutexLock lock(mu_);
    return written_;
  }

 private:
  mutable Mutex mu_;
  CondVar changed_;
  bool open_ GUARDED_BY(mu_) = true;
  int entered_ GUARDED_BY(mu_) = 0;
  std::vector<int64_t> rows_ GUARDED_BY(mu_);
  std::vector<float> first_ GUARDED_BY(mu_);
  std::vector<const void*> read_ GUARDED_BY(mu_);
  std::vector<const void*> written_ GUARDED_BY(mu_);
};

constexpr float kPoison = -666;
constexpr float kRefused = -667;
constexpr float kStale = -668;

// FP32 and INT64: y = 2x + 1, kPoison fails the run. BYTES: the same characters. Where it is told of the
// batch's members, kRefused as the first value of one fails that alone, and kStale says that its features
// are.
class FakeInstance final : public Instance {
 public:
  explicit FakeInstance(Script* script) : script_(script) {}

  Status Run(const BatchIo& io) override {
    if (script_ != nullptr) script_->Enter(io);
    for (BatchMember& member : io.members) {
      const float first = static_cast<const float*>(io.inputs[0].data)[member.first_row];
      if (first == kRefused)
        member.status = InvalidInput("refused: " + std::to_string(member.rows) + " rows");
      member.features_stale = first == kStale;
    }
    for (size_t i = 0; i < io.outputs.size(); ++i) {
      const TensorView& in = io.inputs[i % io.inputs.size()];
      TensorView& out = io.outputs[i];
      if (out.data == nullptr) {
        auto memory = std::make_shared<std::vector<std::byte>>(in.bytes() + 1);
        out.shape = in.shape;
        out.data = memory->data();
        io.owners->push_back(std::move(memory));
      }
      FALAJ_RETURN_IF_ERROR(Compute(in, out));
    }
    return Status::Ok();
  }

 private:
  static Status Compute(const TensorView& in, const TensorView& out) {
    for (int64_t i = 0; i < in.elements(); ++i) {
      if (in.type == DataType::kFp32) {
        const float x = static_cast<const float*>(in.data)[i];
        if (x == kPoison) return InvalidInput("poisoned");
        static_cast<float*>(out.data)[i] = 2 * x + 1;
      } else if (in.type == DataType::kInt64) {
        static_cast<int64_t*>(out.data)[i] = 2 * static_cast<const int64_t*>(in.data)[i] + 1;
      } else {
        static_cast<std::string_view*>(out.data)[i] = static_cast<const std::string_view*>(in.data)[i];
      }
    }
    return Status::Ok();
  }

  Script* const script_;
};

class FakeBackend final : public Backend {
 public:
  FakeBackend(ModelSignature signature, Script* script) : signature_(std::move(signature)), script_(script) {}
  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    return std::unique_ptr<Instance>(std::make_unique<FakeInstance>(script_));
  }
  size_t MemoryUsed() const override { return 1; }
  std::string Placement() const override { return "fake"; }

 private:
  const ModelSignature signature_;
  Script* const script_;
};

}  // namespace falaj::test

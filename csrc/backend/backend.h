// What runs a model. A Backend is one loaded model version; its Instances execute batches, one at a time
// each. Implementations: OrtBackend (backend/ort_backend.h) and PythonBackend (bind/python_backend.h).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/answer_stream.h"
#include "backend/sequence_state.h"
#include "core/request_features.h"
#include "core/request_sequence.h"
#include "core/status.h"
#include "core/tensor.h"

namespace falaj {

struct ModelSignature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;

  // -1 where there is none of that name.
  int InputIndex(std::string_view name) const { return Find(inputs, name); }
  int OutputIndex(std::string_view name) const { return Find(outputs, name); }

 private:
  static int Find(const std::vector<TensorSpec>& specs, std::string_view name) {
    for (size_t i = 0; i < specs.size(); ++i) {
      if (specs[i].name == name) return static_cast<int>(i);
    }
    return -1;
  }
};

// One request of a batch, to a backend that answers for each by itself: its rows of the batch, and what is
// told back of it alone.
struct BatchMember {
  int64_t first_row = 0;
  int64_t rows = 0;
  const RequestFeatures* features = nullptr;
  Status status;                // set where this request fails and the others do not
  bool features_stale = false;  // set where it was answered from older features than the store has
  const RequestSequence* sequence = nullptr;
  SequenceState* state = nullptr;   // of its sequence; null: the model keeps none
  AnswerStream* answers = nullptr;  // where its answers go, of a model that gives several
};

// One batch, in the order of the signature. Inputs are read-only for the backend. An output whose view has
// data is written there and must come out with exactly that shape; one without is allocated by the backend,
// which fills in the view and appends what owns the memory to `owners`. Of a model that answers several times
// outputs are not looked at: it gives its answers to its one member's `answers`.
struct BatchIo {
  std::span<const TensorView> inputs;
  std::span<TensorView> outputs;
  std::vector<std::shared_ptr<void>>* owners;
  // Empty but for a model with BatcherOptions::tells_members. In the order of the requests, not of their
  // rows.
  std::span<BatchMember> members{};
};

// Used by one thread at a time; different instances of one backend run at once.
class Instance {
 public:
  virtual ~Instance() = default;
  // Never throws. On failure the outputs are undefined and nothing of the batch has been answered.
  virtual Status Run(const BatchIo& io) = 0;
};

// Thread-safe. Outlives its instances.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const ModelSignature& Describe() const = 0;
  virtual Result<std::unique_ptr<Instance>> NewInstance() = 0;
  // Bytes held by the model itself, as far as the runtime tells; 0 where it does not.
  virtual size_t MemoryUsed() const = 0;
  // What executes it, for people: "CPUExecutionProvider", "python".
  virtual std::string Placement() const = 0;
  // Runs `io` for its side effects, so that first-run costs (kernel selection, arenas, page faults) are paid
  // before traffic comes.
  virtual Status WarmUp(Instance& instance, const BatchIo& io) { return instance.Run(io); }
};

}  // namespace falaj

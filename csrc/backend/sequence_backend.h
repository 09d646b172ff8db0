// A stateful model behind the states of its sequences: requests carry neither states nor control tensors, the
// model gets both.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"

namespace falaj {

// An input of the model that says something of each row's sequence: [rows, 1] or [rows]; [1] where the model
// has no batch dimension.
struct SequenceControl {
  enum class Kind : uint8_t {
    kStart,  // on: the row is the first of its sequence
    kEnd,    // on: the last
    kReady,  // on: the row has a request; off: it is a slot whose sequence has none in this batch
    kId,     // the sequence's id
  };
  Kind kind = Kind::kReady;
  size_t input = 0;  // of the model
  double off = 0;    // not of kId
  double on = 1;
};

// An output of the model that becomes its input when the sequence's next request is run.
struct SequenceValue {
  size_t input = 0;
  size_t output = 0;
  Shape initial_shape;             // of one sequence, without the batch dimension
  std::vector<std::byte> initial;  // what a sequence begins with; empty: zeros
};

struct SequencePlan {
  std::vector<size_t> inputs;   // of the model: those that requests carry
  std::vector<size_t> outputs;  // those that requests get
  std::vector<SequenceControl> controls;
  std::vector<SequenceValue> values;
  bool batches = false;  // the model has a batch dimension
  // A sequence's rows are always at the same place of the batch; others that are not there are filled with
  // zeros, up to the last that is there.
  bool by_slot = false;
  size_t max_value_bytes = size_t{64} << 20;  // of one value of one sequence
};

// Fails with InvalidInput where the plan does not fit the model. REQUIRES: its indices are the model's
Status CheckSequencePlan(const ModelSignature& model, const SequencePlan& plan);

// Asks `model`, which it takes over. Batches must tell of their members (BatcherOptions::tells_members); one
// whose members have no state is run as the first of new sequences, and nothing is kept. Where a value's
// shape varies, a batch has one member. REQUIRES: CheckSequencePlan passed
std::unique_ptr<Backend> NewSequenceBackend(std::unique_ptr<Backend> model, SequencePlan plan);

}  // namespace falaj

// What is kept of a sequence between its requests.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace falaj {

// Owned by the batcher's record of the sequence. Looked at and changed by the batch that runs the sequence's
// one request under way, and by nobody else meanwhile.
struct SequenceState {
  struct Value {
    Shape shape;
    Buffer bytes;
  };
  std::vector<Value> values;  // one for each of the model's states; empty: the sequence has not begun
  int64_t slot = 0;           // its row of every batch, where sequences have rows of their own
};

}  // namespace falaj

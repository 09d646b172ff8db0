// What one request says of the features that a model looks up by itself, and what it is told of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace falaj {

// Made for the requests that need it; most name their entity's keys and no more. Owned by its request;
// written by the submitter before it is enqueued, by the batch that runs it after.
struct RequestFeatures {
  // A feature that the request brings, in place of what the store has.
  struct Override {
    size_t feature = 0;  // of the model's features, in order
    TensorView view;     // one value a row, in `memory`
    Buffer memory;
  };

  std::string id;  // the request's, for the log of what was served; "" for none
  std::vector<Override> overrides;
  bool wants_vector = false;
  // Where it wants it: per row all of the model's features in order, packed as FeaturePlan says.
  Buffer vector;
};

}  // namespace falaj

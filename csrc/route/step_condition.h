// Whether a step of a pipeline is run for a request, by a scalar that an earlier step made.
#pragma once

#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace falaj {

struct StepCondition {
  enum class Kind {
    kIn,       // one of the values
    kNotIn,    // none of them
    kBelow,    // below the one value
    kAtLeast,  // the one value, or above it
  };
  size_t tensor = 0;  // of the pipeline's tensors; numbers or BOOL, one element a row
  Kind kind = Kind::kIn;
  std::vector<double> values;
};

// Reads the scalar and compares. NaN is in no set, not below and not at least anything. A request takes a
// branch as a whole, so its rows have to agree: fails with InvalidInput where they do not, or where there are
// none.
Result<bool> Holds(const StepCondition& condition, const TensorView& scalar);

}  // namespace falaj

// The protocol's classification extension: the highest scores of an output instead of the output.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace falaj::wire {

// A BYTES tensor and the memory that it is a view on.
struct Classes {
  std::vector<std::string> texts;
  std::vector<std::string_view> elements;
  TensorView view;
};

// For each row of `scores` (all of it, where `batched` is false) the `count` highest as "value:index" or
// "value:index:label", highest first, equal ones by index; fewer where a row has fewer. NaN ranks lowest.
// The shape is [rows, count], or [count]. Fails with InvalidInput where the scores are no numbers.
Status Classify(const TensorView& scores, bool batched, int64_t count, std::span<const std::string> labels,
                Classes& out);

}  // namespace falaj::wire

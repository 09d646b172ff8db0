#include "wire/raw_request.h"

#include <algorithm>
#include <string>

namespace falaj::wire {

Status DescribeRaw(const Batcher& batcher, size_t bytes, InferHeader& header) {
  const auto& specs = batcher.signature().inputs;
  const auto needed = static_cast<size_t>(
      std::count_if(specs.begin(), specs.end(), [](const TensorSpec& input) { return !input.optional; }));
  if (needed != 1) {
    return InvalidInput(batcher.Name() + ": a raw binary request carries one input, and the model has " +
                        std::to_string(needed));
  }
  const TensorSpec& spec = specs[0];
  const std::string where = batcher.Name() + ", input '" + spec.name + "': ";
  InputHeader input{spec.name, spec.type, Shape(spec.shape), bytes, std::nullopt};
  const bool batches = batcher.options().max_batch_rows > 0;
  int variable = -1;
  size_t known = 1;
  for (size_t i = 0; i < input.shape.rank(); ++i) {
    if (batches && i == 0) {
      input.shape[i] = 1;
    } else if (input.shape[i] < 0 && variable >= 0) {
      return InvalidInput(where + "a raw binary request cannot say the shape of " + spec.ToString() +
                          ": more than one dimension is variable");
    } else if (input.shape[i] < 0) {
      variable = static_cast<int>(i);
    } else {
      known *= static_cast<size_t>(input.shape[i]);
    }
  }
  const size_t size = spec.type == DataType::kBytes ? 1 : bytes / ElementSize(spec.type);
  const bool whole = spec.type == DataType::kBytes || bytes % ElementSize(spec.type) == 0;
  if (variable >= 0 && whole && known > 0 && size % known == 0) {
    input.shape[static_cast<size_t>(variable)] = static_cast<int64_t>(size / known);
    known = size;
  }
  if (!whole || known != size) {
    return InvalidInput(where + "a raw binary request of " + std::to_string(bytes) + " bytes does not fit " +
                        spec.ToString() + (batches ? " with a batch of one" : ""));
  }
  header.Clear();
  header.parameters.binary_output = true;
  header.inputs.push_back(input);
  return Status::Ok();
}

}  // namespace falaj::wire

// Raw binary requests: a body that is the one input of a model, with no JSON to say so.
#pragma once

#include <string_view>

#include "batch/batcher.h"
#include "wire/infer_header.h"

namespace falaj::wire {

// The header that a client would have sent: the model's only input, a batch of one, every output binary. At
// most one dimension besides the batch may be variable; the body's size says it. BYTES: one element, the body
// itself. Fails with InvalidInput where that does not describe the model, or `bytes` does not fit it.
Status DescribeRaw(const Batcher& batcher, size_t bytes, InferHeader& header);

}  // namespace falaj::wire

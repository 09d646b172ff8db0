// An infer request without its tensors' data, as any transport reads it, and what it asks to be sent back.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace falaj::wire {

// What a codec accepts; configuration, the same for every request.
struct CodecLimits {
  size_t max_tensors = 1024;     // inputs, and requested outputs
  int max_depth = 64;            // of nested JSON, data included
  size_t max_name_bytes = 1024;  // of a tensor's name, an id, a parameter's key
};

// A place in a region of shared memory that the client has registered (shared_memory_region, _offset and
// _byte_size).
struct SharedPlace {
  std::string_view region;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct InputHeader {
  std::string_view name;
  DataType type = DataType::kFp32;
  Shape shape;
  std::optional<size_t> binary_bytes;  // its data follows the JSON; else it is in the JSON
  std::optional<SharedPlace> shared;   // its data lies there, and not in the request
};

struct OutputRequest {
  std::string_view name;
  std::optional<bool> binary;         // none: as the request says
  int64_t classification = 0;         // the number of top classes wanted; 0: the tensor itself
  std::optional<SharedPlace> shared;  // where its data is wanted
};

// The request's own parameters (facts: "Reserved request parameters"). Others are read past.
struct RequestParameters {
  int priority = 0;                   // 1 is highest, 0 the model's default
  std::optional<int64_t> timeout_us;  // none, or 0 in the request: none
  bool binary_output = false;
  bool return_features = false;    // ours: answers with the features that were looked up
  uint64_t sequence_number = 0;    // sequence_id as a number; 0: none
  std::string_view sequence_text;  // sequence_id as a text; empty: none
  bool sequence_start = false;
  bool sequence_end = false;
  bool cache = true;         // ours; false: is run, and neither looked up nor kept
  bool empty_final = false;  // of a stream: that there is no more is told by an answer without outputs
};

// Views point into memory of the decoder that made it, and hold until its next request.
struct InferHeader {
  std::string_view id;
  RequestParameters parameters;
  std::vector<InputHeader> inputs;     // in the order of the request; names are distinct
  std::vector<OutputRequest> outputs;  // empty: all; names are distinct

  void Clear() {
    id = {};
    parameters = {};
    inputs.clear();
    outputs.clear();
  }
};

}  // namespace falaj::wire

// How one model version is batched. Values, fixed when it is loaded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "batch/sequence_book.h"
#include "core/mutex.h"

namespace falaj {

// What the requests of one priority level are held to. Level 1 is served first.
struct LevelPolicy {
  int64_t max_requests = 0;              // waiting at this level; 0: only the model's row bound holds
  std::optional<Nanos> default_timeout;  // of a request that names none
  bool allow_timeout_override = true;
};

// How one input of the backend is made from the requests of a batch. Either it is one of the public inputs
// (those that requests carry), or it is the mask of one.
struct InputPlan {
  int source = 0;        // index of the public input
  bool is_mask = false;  // 1 where `source` has real elements, 0 where it was padded: [rows, pad_axis]
  int pad_axis = -1;     // axis of the public input (0 is the batch) padded to the batch's longest
  double pad_value = 0;
};

struct OutputPlan {
  // Whether its rows may be written into the batch's own memory. Not where the model declares a first
  // dimension that it does not keep to, as some converters do: the backend would refuse our shape.
  bool preallocate = true;
  // An output that comes back as long as a padded input was is cut to the request's own length.
  int unpad_axis = -1;
  int like_input = -1;  // public input whose pad_axis gives the length
};

// What is kept of the answers of one version.
struct CacheOptions {
  size_t max_bytes = 0;  // of answers and all that is kept with them; 0: none is
  Nanos ttl{0};          // after which an answer is too old to be given; 0: never
};

struct BatcherOptions {
  std::string model;
  int64_t version = 1;
  ModelSignature signature;          // public: what requests carry and get, in order
  std::vector<InputPlan> inputs;     // one per input of the backend, in its order
  std::vector<DataType> mask_types;  // one per input of the backend; read where it is a mask
  std::vector<OutputPlan> outputs;   // one per output
  int64_t max_batch_rows = 0;        // 0: the model has no batch dimension, requests run one by one
  int64_t max_request_rows = 0;      // of one request; one above max_batch_rows runs alone
  int instances = 1;                 // batches of this model at a time
  int cores_per_batch = 1;           // that one run keeps busy (intra-op threads); 0: it mostly waits
  int64_t max_queue_rows = 4096;     // waiting and being filled
  int64_t max_request_bytes = int64_t{1} << 31;
  std::optional<Nanos> slo;  // refuse at once what is expected to take longer
  std::vector<LevelPolicy> levels{LevelPolicy{}};
  int default_level = 1;
  bool run_on_submitter = true;
  bool tells_members = false;   // the backend looks at the requests of a batch one by one, see BatchMember
  bool decoupled = false;       // it answers a request several times, or never; with tells_members
  bool needs_elements = false;  // an input without elements would end the process: such requests are refused
  std::optional<SequenceOptions> sequences;  // of a stateful model
  CacheOptions cache{};      // not with tells_members: what those answer does not only depend on inputs
  Nanos short_work{50'000};  // a hand-over to another thread costs about this much
};

}  // namespace falaj

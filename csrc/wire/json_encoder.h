// Writes the answer to an infer request in the protocol's JSON, with binary tensors behind it where asked
// for.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"
#include "core/tensor.h"
#include "wire/infer_header.h"

namespace falaj::wire {

struct OutputTensor {
  std::string_view name;
  TensorView view;
  bool binary = false;                  // behind the JSON rather than in it
  const SharedPlace* shared = nullptr;  // where its data was written instead; null: it is in the answer
};

struct InferReply {
  std::string_view model_name;
  int64_t model_version = 0;
  std::string_view id;  // empty: none was given
  std::span<const OutputTensor> outputs;
  bool features_stale = false;  // its parameter of that name
  // Of a stream (triton_final_response): whether no more answers follow. None: it is not told. By gRPC only.
  std::optional<bool> final_response{};
};

// Where the JSON of an encoded reply ends. The header of its length is sent only if there are binary tensors.
struct Encoded {
  size_t json_bytes = 0;
  bool binary = false;
};

// Appends the reply to `out`. Floats are written in the shortest form that reads back as the same value; NaN
// and infinities as Python's json writes them (NaN, Infinity, -Infinity), since JSON has no word for them.
// Fails with InvalidInput where a BYTES output asked for as JSON is not UTF-8; `out` is then as before.
Result<Encoded> EncodeReply(const InferReply& reply, std::string& out);

// Appends `text`, which must be UTF-8, as a JSON string with its quotes.
void AppendJsonString(std::string_view text, std::string& out);

}  // namespace falaj::wire

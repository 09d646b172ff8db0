// Writes the answer to an infer request as the bytes of inference.ModelInferResponse, and of
// ModelStreamInferResponse around it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "wire/json_encoder.h"

namespace falaj::wire {

// Size of what AppendInferResponse appends. Clients refuse a message of 2 GiB or more, so the caller does.
[[nodiscard]] size_t InferResponseBytes(const InferReply& reply);

// Appends the reply with all outputs in raw_output_contents, whatever their `binary` says: it is what clients
// read, by position, so that those in shared memory are empty there. `bytes` is InferResponseBytes; `out`
// grows at most once. Names and the id must be UTF-8.
void AppendInferResponse(const InferReply& reply, size_t bytes, std::string& out);

// The same for a stream.
void AppendStreamResponse(const InferReply& reply, size_t bytes, std::string& out);

// Appends a request's failure within a stream. `id` (empty: none) tells the client which request it was of.
// What is not UTF-8 in `message` is shown as question marks, since a client would refuse the whole answer for
// it.
void AppendStreamError(std::string_view message, std::string_view id, std::string& out);

}  // namespace falaj::wire

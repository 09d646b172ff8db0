// Reads an infer request of the Open Inference Protocol in JSON, with or without binary tensors behind it.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "core/status.h"
#include "wire/infer_header.h"

namespace falaj::wire {

// One request at a time: Parse, then (with memory for its inputs at hand) Fill. Reused from request to
// request so that it allocates only while it has not seen one as large. Not thread-safe. Never throws.
class JsonDecoder {
 public:
  // Bytes that must be readable behind the JSON; their values do not matter. The first of them must be
  // writable too: Parse and Fill end the text there while they read it, and put back what was there.
  static constexpr size_t kPadding = 64;

  explicit JsonDecoder(CodecLimits limits = {});
  ~JsonDecoder();
  JsonDecoder(const JsonDecoder&) = delete;
  JsonDecoder& operator=(const JsonDecoder&) = delete;

  // Reads everything but the inputs' data. `json` stays valid and unchanged until Fill, `blobs` (the bytes
  // behind it) too. Fails with InvalidInput and says where: "inputs[1].shape: ...".
  Status Parse(std::string_view json, std::span<const std::byte> blobs);
  const InferHeader& header() const;

  // Upper bound of the characters that Fill will write for BYTES inputs. REQUIRES: Parse succeeded
  size_t PayloadBytes() const;

  // Writes the data of header().inputs[i] into views[i], whose type and shape are the header's; those in
  // shared memory are left alone. Characters of
  // BYTES elements go to `payload`, PayloadBytes() long. Fails with InvalidInput; the views' content is then
  // undefined. REQUIRES: Parse succeeded
  Status Fill(std::span<const TensorView> views, std::byte* payload);

  // Gives back what a large request has made it hold. header() is valid until then only.
  void FreeMemory();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;  // keeps simdjson out of every includer
};

}  // namespace falaj::wire

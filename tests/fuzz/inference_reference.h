// What a ModelInferRequest says, read from libprotobuf's reflection as plainly as can be: the reference that
// grpc_codec_fuzz holds the decoder against. It shares no code with the decoder.
#pragma once

#include <google/protobuf/compiler/importer.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/message.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace falaj::fuzz {

// The messages of tests/fuzz/inference.proto, whose folder is `folder`. Aborts where they cannot be loaded.
class InferenceMessages {
 public:
  explicit InferenceMessages(const std::string& folder);
  // `name` as in "ModelInferRequest". What is made lives no longer than this.
  std::unique_ptr<google::protobuf::Message> New(const std::string& name);

 private:
  google::protobuf::compiler::DiskSourceTree tree_;
  google::protobuf::compiler::Importer importer_;
  google::protobuf::DynamicMessageFactory factory_;
};

// In shared memory.
struct ReferencePlace {
  std::string region;
  int64_t offset = 0;
  int64_t bytes = 0;
};

struct ReferenceInput {
  std::string name, type;
  std::vector<int64_t> shape;
  std::string data;  // in the raw form
  std::optional<ReferencePlace> shared{};
};

struct ReferenceOutput {
  std::string name;
  std::optional<bool> binary;
  int64_t classification = 0;
  std::optional<ReferencePlace> shared{};
};

struct ReferenceRequest {
  std::string broken_rule;  // of the protocol; empty: none, and only then the rest is whole
  std::string model_name, id;
  int64_t model_version = 0;
  int64_t priority = 0;
  int64_t timeout_us = 0;  // 0: none
  bool binary_output = false;
  uint64_t sequence_number = 0;
  std::string sequence_text;
  bool sequence_start = false;
  bool cache = true;
  bool sequence_end = false;
  std::vector<ReferenceInput> inputs;
  std::vector<ReferenceOutput> outputs;
};

struct ReferenceLimits {
  int tensors = 0;
  size_t name_bytes = 0;
};

ReferenceRequest ReadRequest(const google::protobuf::Message& request, const ReferenceLimits& limits);

}  // namespace falaj::fuzz

// Reads inference.ModelInferRequest, the infer request of the Open Inference Protocol in gRPC, from the bytes
// of its message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "wire/grpc_contents.h"
#include "wire/grpc_parameter.h"
#include "wire/infer_header.h"

namespace falaj::wire {

// One request at a time: Parse, then (with memory for its inputs at hand) Fill. Reused from request to
// request so that it allocates only while it has not seen one with as many tensors. Not thread-safe. Never
// throws.
//
// Means what libprotobuf means by the same bytes: the last of a scalar field, an entry of a map's key and a
// oneof counts; messages merge; packed and unpacked lists are one; unknown fields are stepped over; strings
// are UTF-8.
class GrpcDecoder {
 public:
  explicit GrpcDecoder(CodecLimits limits = {});
  GrpcDecoder(const GrpcDecoder&) = delete;
  GrpcDecoder& operator=(const GrpcDecoder&) = delete;

  // Reads everything but the inputs' data, whose size is checked here. `message` stays valid and unchanged
  // until Fill. Fails with InvalidInput or Unsupported and says where: "inputs[1].shape: ...". header().id is
  // then what was read of it before that, so that a stream's client can be told which request it was.
  Status Parse(std::span<const std::byte> message);

  // REQUIRES of all that follows: Parse succeeded
  std::string_view model_name() const { return model_name_; }  // not empty
  int64_t model_version() const { return model_version_; }     // 0: none was given
  const InferHeader& header() const { return header_; }

  // The characters that Fill will write for BYTES inputs.
  size_t PayloadBytes() const { return payload_bytes_; }

  // Writes the data of header().inputs[i] into views[i], whose type and shape are the header's; those in
  // shared memory are left alone. Characters of
  // BYTES elements go to `payload`, PayloadBytes() long. Fails with InvalidInput; the views' content is then
  // undefined.
  Status Fill(std::span<const TensorView> views, std::byte* payload);

 private:
  // Where an input's data is, in the order of the inputs.
  struct Source {
    std::span<const std::byte> input;  // its message
    std::span<const std::byte> raw;    // of raw_input_contents
    bool typed = false;                // in `contents` of its message
  };
  // Reserved parameters, of which the last counts.
  struct RequestReserved {
    GrpcParameter priority, timeout, binary_output, return_features, cache;
    GrpcParameter sequence_id, sequence_start, sequence_end, empty_final;
  };
  struct SharedReserved {
    GrpcParameter region, offset, bytes;
  };
  struct OutputReserved {
    GrpcParameter binary, classification;
    SharedReserved shared;
  };

  void Clear();
  bool ReadAsBefore(std::span<const std::byte> message);
  Status ReadAnew(std::span<const std::byte> message);
  bool ReadRaw(std::span<const std::byte> message);
  Status TooManyContents() const;
  Status ReadRequest(std::span<const std::byte> message);
  Status ReadParameter(std::span<const std::byte> entry, RequestReserved& reserved);
  Status TakeParameters(const RequestReserved& reserved);
  Status TakeSequence(const RequestReserved& reserved);
  Status TakeVersion(std::string_view version);
  Status ReadInput(std::span<const std::byte> message);
  Status CheckInput(const JsonPath& where, std::string_view type);
  Status ReadOutput(std::span<const std::byte> message);
  Status ReadTensorParameter(std::span<const std::byte> entry, const JsonPath& where,
                             GrpcParameterEntry& read, SharedReserved& shared);
  Status TakeShared(const SharedReserved& reserved, const JsonPath& where,
                    std::optional<SharedPlace>& place) const;
  Status CheckName(std::string_view name, const JsonPath& where) const;
  Status MatchContents();
  Status CheckContentsGiven(size_t input) const;
  Status TakeRaw(const JsonPath& where, const InputHeader& input, std::span<const std::byte> raw);

  const CodecLimits limits_;
  // All that preceded the raw contents of the last request, where that is short. What was read of it views
  // it, and holds for a request that repeats it (repeatable_): clients ask the same again and again, with
  // other values.
  std::vector<std::byte> known_;
  bool repeatable_ = false;
  size_t known_payload_bytes_ = 0;
  std::string_view model_name_;
  int64_t model_version_ = 0;
  InferHeader header_;
  size_t payload_bytes_ = 0;
  std::vector<Source> sources_;
  std::vector<std::span<const std::byte>> raw_;  // raw_input_contents
};

}  // namespace falaj::wire

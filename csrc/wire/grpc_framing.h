// gRPC messages in the bytes of an HTTP/2 stream: each is a flag, its length in four bytes, and itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "wire/buffer_budget.h"
#include "wire/byte_buffer.h"
#include "wire/grpc_status.h"

namespace falaj::wire {

inline constexpr size_t kGrpcPrefixBytes = 5;

// Appends the prefix of a message of `bytes` bytes. REQUIRES: bytes fit 32 bits
void AppendGrpcPrefix(bool compressed, size_t bytes, std::string& out);
// Appends room for a prefix, for a message whose size is known when it is written; returns where it begins.
size_t BeginGrpcMessage(std::string& out);
// Writes the prefix of the message that lies between its prefix's room and the end of `out`.
void EndGrpcMessage(bool compressed, size_t begin, std::string& out);

struct GrpcMessage {
  bool compressed = false;
  std::span<const std::byte> bytes;
};

// Cuts a stream's bytes, however they are split, into messages. One that lies whole in a chunk is viewed
// there; others are gathered in memory that grows with what has arrived, never with what a prefix promises.
// Not thread-safe.
class GrpcMessageReader {
 public:
  // `budget` is told of the gathered bytes and outlives the reader.
  GrpcMessageReader(size_t max_message_bytes, BufferBudget* budget)
      : max_message_bytes_(max_message_bytes), budget_(budget) {}
  ~GrpcMessageReader() { Clear(); }
  GrpcMessageReader(const GrpcMessageReader&) = delete;
  GrpcMessageReader& operator=(const GrpcMessageReader&) = delete;

  enum class Step {
    kMore,     // `chunk` is used up
    kMessage,  // `message` holds until the next call, and while the chunk does
    kFailed,   // the stream is past saving: see failure()
  };
  // Takes bytes from the front of `chunk`.
  Step Next(std::span<const std::byte>& chunk, GrpcMessage& message);
  const GrpcFailure& failure() const { return failure_; }

  // The stream may end here: no message has begun.
  bool at_boundary() const { return prefix_bytes_ == 0; }
  // Back to the beginning of a stream; keeps some memory.
  void Clear();

 private:
  Step Fail(GrpcFailure failure);
  bool Gather(std::span<const std::byte> part);
  void DropGathered();

  const size_t max_message_bytes_;
  BufferBudget* const budget_;
  size_t prefix_bytes_ = 0;  // of the message that has begun
  uint8_t prefix_[kGrpcPrefixBytes] = {};
  size_t length_ = 0;    // of its message, once the prefix is whole
  bool viewed_ = false;  // the message in gathered_ was handed out
  ByteBuffer gathered_;
  size_t counted_ = 0;  // bytes of gathered_ in the budget
  GrpcFailure failure_;
};

}  // namespace falaj::wire

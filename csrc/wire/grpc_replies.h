// The messages of one stream on their way out: small ones run together, large ones lie where they were
// written until the socket has taken them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wire/buffer_budget.h"
#include "wire/http2_output.h"

namespace falaj::wire {

// Holds framed bytes (wire/grpc_framing.h) in order. Not thread-safe.
class GrpcReplies {
 public:
  // Above this a message is not copied.
  static constexpr size_t kLarge = 16 * 1024;

  // `budget` outlives it.
  explicit GrpcReplies(BufferBudget* budget) : budget_(budget) {}
  ~GrpcReplies() { Clear(); }
  GrpcReplies(const GrpcReplies&) = delete;
  GrpcReplies& operator=(const GrpcReplies&) = delete;

  // To append a small message to; Added follows, before anything else is called.
  std::string& small() { return small_; }
  void Added();
  // False: the server has buffered as much as it may, and nothing was added.
  [[nodiscard]] bool Add(std::shared_ptr<const std::string> large);

  size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  // Moves the first `bytes` bytes to `output`. REQUIRES: no more than bytes()
  void Write(size_t bytes, Http2Output& output);
  // Keeps some memory.
  void Clear();

 private:
  struct Segment {
    std::shared_ptr<const std::string> large;  // null: the next of small_
    size_t left = 0;                           // to be written
  };
  void TrimSmall();

  BufferBudget* const budget_;
  std::vector<Segment> segments_;
  size_t first_ = 0;  // of segments_ that is not written
  size_t bytes_ = 0;
  std::string small_;
  size_t small_written_ = 0;  // from its front
  size_t small_added_ = 0;    // is in segments
};

}  // namespace falaj::wire

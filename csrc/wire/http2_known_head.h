// The head that a client sends again and again.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <span>
#include <vector>

#include "wire/grpc_head.h"

namespace falaj::wire {

// Most fields that repeat come out of HPACK's table as the very same strings, so a head that repeats the last
// good one of its connection is known by little more than its pointers, and none of it is read again. Keeps
// references to those strings. Not thread-safe.
//
// For each head: Begin; for each field Follows and, once that is false, what Diverge gives and then the field
// itself is read and noted; at its end it repeats() the known one, or was read, and may be learnt.
class Http2KnownHead {
 public:
  struct Field {
    nghttp2_rcbuf* name = nullptr;
    nghttp2_rcbuf* value = nullptr;
  };

  Http2KnownHead() = default;
  ~Http2KnownHead();
  Http2KnownHead(const Http2KnownHead&) = delete;
  Http2KnownHead& operator=(const Http2KnownHead&) = delete;

  void Begin();
  // Whether the head, this field included, is the known one so far.
  bool Follows(const Field& field) {
    if (!following_ || followed_ == known_.size()) return false;
    const Field& known = known_[followed_];
    if (!IsSame(known.name, field.name) || !IsSame(known.value, field.value)) return false;
    ++followed_;
    return true;
  }
  // The fields that it followed, which were not read; empty when asked again.
  std::span<const Field> Diverge();
  void Note(const Field& field);

  bool repeats() const { return following_ && followed_ > 0 && followed_ == known_.size(); }
  const GrpcHead& head() const { return head_; }
  // What was noted is the known head from now on, and `head` what it says.
  void Learn(const GrpcHead& head);

 private:
  static constexpr size_t kMostBytes = 4096;  // of the fields of a head that is worth to be known
  static void Release(std::vector<Field>& fields);
  static bool IsSame(nghttp2_rcbuf* a, nghttp2_rcbuf* b) { return a == b || HasSameBytes(a, b); }
  static bool HasSameBytes(nghttp2_rcbuf* a, nghttp2_rcbuf* b);

  std::vector<Field> known_;
  GrpcHead head_;
  bool following_ = false;
  size_t followed_ = 0;
  std::vector<Field> noted_;
  size_t noted_bytes_ = 0;
};

}  // namespace falaj::wire

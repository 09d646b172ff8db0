#include "wire/http2_known_head.h"

#include <cstring>

namespace falaj::wire {

Http2KnownHead::~Http2KnownHead() {
  Release(known_);
  Release(noted_);
}

void Http2KnownHead::Release(std::vector<Field>& fields) {
  for (const Field& field : fields) {
    nghttp2_rcbuf_decref(field.name);
    nghttp2_rcbuf_decref(field.value);
  }
  fields.clear();
}

void Http2KnownHead::Begin() {
  following_ = true;
  followed_ = 0;
  noted_bytes_ = 0;
  if (!noted_.empty()) Release(noted_);
}

// Clients leave some fields out of the table, such as paths.
bool Http2KnownHead::HasSameBytes(nghttp2_rcbuf* a, nghttp2_rcbuf* b) {
  const nghttp2_vec left = nghttp2_rcbuf_get_buf(a);
  const nghttp2_vec right = nghttp2_rcbuf_get_buf(b);
  return left.len == right.len && std::memcmp(left.base, right.base, left.len) == 0;
}

std::span<const Http2KnownHead::Field> Http2KnownHead::Diverge() {
  if (!following_) return {};
  following_ = false;
  const auto fields = std::span<const Field>(known_).first(followed_);
  for (const Field& field : fields) Note(field);
  return fields;
}

void Http2KnownHead::Note(const Field& field) {
  constexpr size_t kOverhead = 32;  // of a field, by RFC 9113's measure
  noted_bytes_ += nghttp2_rcbuf_get_buf(field.name).len + nghttp2_rcbuf_get_buf(field.value).len + kOverhead;
  if (noted_bytes_ > kMostBytes) return Release(noted_);
  nghttp2_rcbuf_incref(field.name);
  nghttp2_rcbuf_incref(field.value);
  noted_.push_back(field);
}

void Http2KnownHead::Learn(const GrpcHead& head) {
  if (following_ || noted_bytes_ > kMostBytes) return;
  known_.swap(noted_);
  Release(noted_);
  head_ = head;
}

}  // namespace falaj::wire

#include "wire/http2_output.h"

#include <algorithm>
#include <utility>

namespace falaj::wire {
namespace {

constexpr size_t kKeep = 64 * 1024;

}  // namespace

void Http2Output::Copy(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (pieces_.empty() || pieces_.back().data != nullptr) pieces_.push_back({});
  copied_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  pieces_.back().size += bytes.size();
  size_ += bytes.size();
}

void Http2Output::Refer(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  if (bytes.empty()) return;
  pieces_.push_back({bytes.data(), bytes.size(), std::move(owner)});
  size_ += bytes.size();
}

size_t Http2Output::Pieces(std::span<iovec> into) const {
  size_t count = 0;
  size_t taken = next_taken_;
  const char* copied = copied_.data() + copied_taken_;
  for (size_t i = next_; i < pieces_.size() && count < into.size(); ++i) {
    const Piece& piece = pieces_[i];
    const void* begin = piece.data != nullptr ? static_cast<const void*>(piece.data + taken) : copied + taken;
    into[count++] = {const_cast<void*>(begin), piece.size - taken};
    if (piece.data == nullptr) copied += piece.size;
    taken = 0;
  }
  return count;
}

void Http2Output::Took(size_t bytes) {
  taken_ += bytes;
  while (bytes > 0) {
    Piece& piece = pieces_[next_];
    const size_t part = std::min(bytes, piece.size - next_taken_);
    bytes -= part;
    next_taken_ += part;
    if (next_taken_ < piece.size) break;
    if (piece.data == nullptr) copied_taken_ += piece.size;
    piece.owner.reset();
    next_taken_ = 0;
    ++next_;
  }
  if (empty()) Clear();
}

void Http2Output::Clear() {
  pieces_.clear();
  copied_.clear();
  if (copied_.capacity() > kKeep) copied_ = {};
  size_ = taken_ = next_ = next_taken_ = copied_taken_ = 0;
}

}  // namespace falaj::wire

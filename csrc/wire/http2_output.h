// What one connection is about to write: frames of one turn gathered, so that they leave in one write.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace falaj::wire {

// Filled (Copy, Refer) while it is empty, then taken from (Pieces, Took) until it is empty again, so that
// what a write in progress points at never moves. Not thread-safe.
class Http2Output {
 public:
  bool empty() const { return taken_ == size_; }
  size_t size() const { return size_ - taken_; }

  void Copy(std::span<const std::byte> bytes);
  // `owner` keeps the bytes alive until they are taken.
  void Refer(std::span<const std::byte> bytes, std::shared_ptr<const void> owner);

  // Views of what is left, as many as fit `into`; returns how many.
  size_t Pieces(std::span<iovec> into) const;
  // The first `bytes` of them left. REQUIRES: no more than size()
  void Took(size_t bytes);

 private:
  struct Piece {
    const std::byte* data = nullptr;  // null: in copied_, behind the previous such piece
    size_t size = 0;
    std::shared_ptr<const void> owner;
  };
  void Clear();

  std::string copied_;
  std::vector<Piece> pieces_;
  size_t size_ = 0;
  size_t taken_ = 0;
  // The piece that is next, how much of it is taken, and where in copied_ the copied pieces before it end.
  size_t next_ = 0;
  size_t next_taken_ = 0;
  size_t copied_taken_ = 0;
};

}  // namespace falaj::wire

// Bytes that have come and are not yet used up.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace falaj::wire {

// Contiguous; grows by realloc, which moves pages rather than bytes where they are many, and never writes
// what nobody wrote. `kSlack` bytes beyond the content are always readable. Not thread-safe.
class ByteBuffer {
 public:
  static constexpr size_t kSlack = 64;

  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  size_t capacity() const { return capacity_; }
  std::string_view view() const { return {data_.get() + begin_, size()}; }

  // At least `bytes` free behind the content; moves it. False where there is no memory.
  [[nodiscard]] bool MakeRoom(size_t bytes) {
    if (begin_ > 0) {
      std::memmove(data_.get(), data_.get() + begin_, size());
      end_ -= begin_;
      begin_ = 0;
    }
    if (capacity_ - end_ >= bytes && capacity_ > 0) return true;
    void* const grown = std::realloc(data_.get(), end_ + bytes + kSlack);
    if (grown == nullptr) return false;
    static_cast<void>(data_.release());
    data_.reset(static_cast<char*>(grown));
    std::memset(data_.get() + end_, 0, kSlack);
    capacity_ = end_ + bytes;
    return true;
  }
  std::span<std::byte> Room() {
    return std::as_writable_bytes(std::span(data_.get() + end_, capacity_ - end_));
  }
  // The first `bytes` of Room() were written.
  void Append(size_t bytes) { end_ += bytes; }
  [[nodiscard]] bool Append(std::string_view bytes) {
    if (bytes.empty()) return true;
    if (!MakeRoom(bytes.size())) return false;
    std::memcpy(data_.get() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
    return true;
  }
  // The first `bytes` of the content are done with.
  void Consume(size_t bytes) {
    begin_ += bytes;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Only the first `bytes` of the content stay.
  void Truncate(size_t bytes) { end_ = begin_ + bytes; }
  void Clear() { begin_ = end_ = 0; }
  void Free() {
    data_.reset();
    begin_ = end_ = capacity_ = 0;
  }

 private:
  struct Deleter {
    void operator()(char* data) const { std::free(data); }
  };
  std::unique_ptr<char, Deleter> data_;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t capacity_ = 0;  // without the slack
};

}  // namespace falaj::wire

// Small blocks of memory, for a library that takes many and soon gives them back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace falaj::wire {

// As malloc and its kin, of which it holds what was given back: a list for each size, so that taking and
// giving are a few instructions each. What it holds is bounded (kMostKept); larger blocks are malloc's alone.
// Not thread-safe; outlives its blocks' users.
class BlockPool {
 public:
  // AddressSanitizer is to see who uses what was given back. GCC says that it is there by a macro, clang by a
  // feature.
#if defined(__SANITIZE_ADDRESS__)
  static constexpr bool kKeeps = false;
#elif defined(__has_feature)
  static constexpr bool kKeeps = !__has_feature(address_sanitizer);
#else
  static constexpr bool kKeeps = true;
#endif

  BlockPool() = default;
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // Aligned for any type; null where memory is out.
  void* Take(size_t bytes);
  void* TakeZeroed(size_t count, size_t bytes);
  void* Resize(void* block, size_t bytes);
  void Give(void* block);

  size_t kept_bytes() const { return kept_; }

 private:
  static constexpr size_t kStep = 32;
  static constexpr size_t kClasses = 32;  // up to 1 KiB
  static constexpr size_t kMostKept = kKeeps ? 256 * 1024 : 0;

  // In front of each block.
  struct alignas(16) Head {
    size_t bytes = 0;      // that the block has room for
    Head* next = nullptr;  // of those kept
  };
  static Head* HeadOf(void* block) { return static_cast<Head*>(block) - 1; }

  std::array<Head*, kClasses> kept_blocks_{};  // by size in steps, less one
  size_t kept_ = 0;
};

}  // namespace falaj::wire

#include "wire/block_pool.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace falaj::wire {

BlockPool::~BlockPool() {
  for (Head* head : kept_blocks_) {
    while (head != nullptr) {
      Head* const next = head->next;
      std::free(head);
      head = next;
    }
  }
}

void* BlockPool::Take(size_t bytes) {
  const size_t index = bytes == 0 ? 0 : (bytes - 1) / kStep;
  if (index < kClasses) {
    bytes = (index + 1) * kStep;
    if (Head* const head = kept_blocks_[index]; head != nullptr) {
      kept_blocks_[index] = head->next;
      kept_ -= bytes;
      return head + 1;
    }
  }
  if (bytes > std::numeric_limits<size_t>::max() - sizeof(Head)) return nullptr;
  void* const memory = std::malloc(sizeof(Head) + bytes);
  if (memory == nullptr) return nullptr;
  return new (memory) Head{bytes, nullptr} + 1;
}

void* BlockPool::TakeZeroed(size_t count, size_t bytes) {
  if (bytes != 0 && count > std::numeric_limits<size_t>::max() / bytes) return nullptr;
  void* const block = Take(count * bytes);
  if (block != nullptr) std::memset(block, 0, count * bytes);
  return block;
}

void* BlockPool::Resize(void* block, size_t bytes) {
  if (block == nullptr) return Take(bytes);
  const size_t had = HeadOf(block)->bytes;
  if (bytes <= had) return block;
  void* const larger = Take(bytes);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, block, had);
  Give(block);
  return larger;
}

void BlockPool::Give(void* block) {
  if (block == nullptr) return;
  Head* const head = HeadOf(block);
  const size_t bytes = head->bytes;
  if (bytes > kClasses * kStep || kept_ + bytes > kMostKept) return std::free(head);
  head->next = std::exchange(kept_blocks_[bytes / kStep - 1], head);
  kept_ += bytes;
}

}  // namespace falaj::wire

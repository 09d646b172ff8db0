#include "core/allocator.h"

#include <malloc.h>

#include <algorithm>

namespace falaj {
namespace {

[[maybe_unused]] constexpr int kMostFree = 16 << 20;  // bytes
// Larger blocks come from the kernel and go back to it; the most that an arena can hold.
[[maybe_unused]] constexpr int kLargest = 32 << 20;

}  // namespace

void BoundAllocator([[maybe_unused]] int arenas) {
#ifdef M_ARENA_MAX
  mallopt(M_ARENA_MAX, std::max(1, arenas));
  mallopt(M_MMAP_THRESHOLD, kLargest);
  mallopt(M_TRIM_THRESHOLD, kMostFree);
#endif
}

}  // namespace falaj

// How the C library's allocator serves this process.
#pragma once

namespace falaj {

// Bounds the free memory that the allocator keeps to kMostFree for each of so many arenas. Left alone it
// makes eight arenas for each core, and the free end of each, which no trimming gives back, may be as large
// as twice the largest block that was ever freed: what attackers or rare large requests took stays with the
// process. Threads that run at the same time still find an arena each where there is one for each core, and
// blocks of megabytes come from them rather than page by page from the kernel, from the first request on. For
// a process of our own, before it starts threads. Does nothing where the C library is not GNU's.
void BoundAllocator(int arenas);

}  // namespace falaj

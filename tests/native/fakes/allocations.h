// Counts what operator new gives out. Not there under the sanitizers (allocation_test.cc).
#pragma once

#include <cstdint>
#include <functional>

namespace falaj::test {

// How often memory was allocated, by any thread, while `work` ran.
int64_t CountAllocations(const std::function<void()>& work);

}  // namespace falaj::test

// Any text as /proc/self/cgroup.
#include <string>

#include "core/cpus.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  return falaj::CgroupQuotaCores("/nonexistent", text) > 0 ? -1 : 0;
}

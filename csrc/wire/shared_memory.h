// The regions of system shared memory that clients have registered, by name.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/mutex.h"
#include "core/status.h"
#include "wire/shared_region.h"

namespace falaj::wire {

// Thread-safe. Asked by the I/O threads for every request with shared tensors, changed by the control plane.
// 1. A name is of one region at a time, and of another one only after it was unregistered.
// 2. The regions are at most rules().max_regions, of at most rules().max_bytes together. Those that were
//    unregistered while requests use them live as long as these, and do not count.
class SharedMemory {
 public:
  explicit SharedMemory(SharedMemoryRules rules);

  const SharedMemoryRules& rules() const { return rules_; }

  // Fails as SharedRegion::Open does; with InvalidInput where the name is taken, with Unavailable where a
  // bound is reached. Opens a file, so not for an I/O thread.
  Status Register(std::string name, std::string key, uint64_t offset, uint64_t bytes) EXCLUDES(mu_);
  // Does nothing where there is no region of that name, as clients expect.
  void Unregister(std::string_view name) EXCLUDES(mu_);
  void UnregisterAll() EXCLUDES(mu_);

  // Fails with InvalidInput.
  Result<std::shared_ptr<const SharedRegion>> Find(std::string_view name) const EXCLUDES(mu_);
  // Room for copies of inputs: a request of a few bytes may ask for large ones. Take fails with Unavailable
  // where there is none; what was taken is given back.
  Status TakeCopyRoom(uint64_t bytes);
  void GiveCopyRoom(uint64_t bytes) { copied_.fetch_sub(bytes, std::memory_order_relaxed); }

  // By name.
  std::vector<std::shared_ptr<const SharedRegion>> Regions() const EXCLUDES(mu_);

 private:
  Status CheckRoom(std::string_view name, uint64_t bytes) const REQUIRES(mu_);

  const SharedMemoryRules rules_;
  std::atomic<uint64_t> copied_{0};  // bytes; nothing else is published by it
  mutable Mutex mu_;                 // a leaf
  std::map<std::string, std::shared_ptr<const SharedRegion>, std::less<>> regions_ GUARDED_BY(mu_);
  uint64_t bytes_ GUARDED_BY(mu_) = 0;  // of regions_
};

}  // namespace falaj::wire

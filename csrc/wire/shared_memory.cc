#include "wire/shared_memory.h"

namespace falaj::wire {
namespace {

constexpr size_t kLongestName = 1024;

}  // namespace

SharedMemory::SharedMemory(SharedMemoryRules rules) : rules_(std::move(rules)) { GuardedMapping::Guard(); }

Status SharedMemory::CheckRoom(std::string_view name, uint64_t bytes) const {
  if (regions_.contains(name)) {
    return InvalidInput("shared memory region '" + std::string(name) + "' already in manager");
  }
  if (regions_.size() >= rules_.max_regions) {
    return Unavailable("shared memory region '" + std::string(name) + "': there are " +
                       std::to_string(regions_.size()) + ", the most (shared_memory.max_regions)");
  }
  if (bytes > rules_.max_bytes || bytes_ > rules_.max_bytes - bytes) {
    return Unavailable("shared memory region '" + std::string(name) + "': " + std::to_string(bytes) +
                       " bytes more than the " + std::to_string(bytes_) + " registered pass the bound of " +
                       std::to_string(rules_.max_bytes) + " (shared_memory.max_bytes)");
  }
  return Status::Ok();
}

Status SharedMemory::Register(std::string name, std::string key, uint64_t offset, uint64_t bytes) {
  if (name.empty() || name.size() > kLongestName) {
    return InvalidInput("expected a shared memory region's name of 1 to " + std::to_string(kLongestName) +
                        " bytes, got " + std::to_string(name.size()));
  }
  {
    MutexLock lock(mu_);
    FALAJ_RETURN_IF_ERROR(CheckRoom(name, bytes));
  }
  auto region = SharedRegion::Open(rules_, std::move(name), std::move(key), offset, bytes);
  if (!region.ok()) return region.status();
  MutexLock lock(mu_);
  const std::string& known = (*region)->name();
  FALAJ_RETURN_IF_ERROR(CheckRoom(known, bytes));  // others may have come meanwhile
  bytes_ += bytes;
  regions_.emplace(known, std::move(*region));
  return Status::Ok();
}

void SharedMemory::Unregister(std::string_view name) {
  std::shared_ptr<const SharedRegion> last;  // unmapped outside the lock
  MutexLock lock(mu_);
  const auto found = regions_.find(name);
  if (found == regions_.end()) return;
  last = std::move(found->second);
  bytes_ -= last->bytes();
  regions_.erase(found);
}

void SharedMemory::UnregisterAll() {
  std::map<std::string, std::shared_ptr<const SharedRegion>, std::less<>> last;
  MutexLock lock(mu_);
  last.swap(regions_);
  bytes_ = 0;
}

Status SharedMemory::TakeCopyRoom(uint64_t bytes) {
  const uint64_t before = copied_.fetch_add(bytes, std::memory_order_relaxed);
  if (bytes <= rules_.max_copied_bytes && before <= rules_.max_copied_bytes - bytes) return Status::Ok();
  GiveCopyRoom(bytes);
  return Unavailable("shared memory: copies of " + std::to_string(bytes) + " bytes of inputs beside " +
                     std::to_string(before) + " pass the bound of " +
                     std::to_string(rules_.max_copied_bytes) + " (shared_memory.max_copied_bytes)");
}

Result<std::shared_ptr<const SharedRegion>> SharedMemory::Find(std::string_view name) const {
  MutexLock lock(mu_);
  const auto found = regions_.find(name);
  if (found != regions_.end()) return found->second;
  return InvalidInput("Unable to find shared memory region: '" + std::string(name) + "'");
}

std::vector<std::shared_ptr<const SharedRegion>> SharedMemory::Regions() const {
  std::vector<std::shared_ptr<const SharedRegion>> regions;
  MutexLock lock(mu_);
  regions.reserve(regions_.size());
  for (const auto& [name, region] : regions_) regions.push_back(region);
  return regions;
}

}  // namespace falaj::wire

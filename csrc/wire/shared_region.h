// A region of system shared memory that a client has registered.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/file_descriptor.h"
#include "core/mutex.h"
#include "core/status.h"
#include "wire/guarded_mapping.h"

namespace falaj::wire {

// What may be registered. Configuration (server/ops/settings.py has defaults and meanings).
struct SharedMemoryRules {
  std::string folder = "/dev/shm";
  std::vector<std::string> prefixes;  // keys begin with one of these; none: nothing may be registered
  std::vector<uid_t> owners;          // of files, besides the server's own user
  size_t max_regions = 1024;
  uint64_t max_bytes = uint64_t{16} << 30;        // of all regions
  uint64_t max_copied_bytes = uint64_t{1} << 30;  // of inputs' copies that live at a time
  bool copies = false;  // tensors, in and out, instead of running models on them there
};

// Part of a file of shared memory: `bytes` from `offset` on. The client that made the file may write to it,
// cut it shorter and remove it at any time: nothing read from it may be trusted twice, and every use begins
// with Check and ends with CheckAfter.
//
// Thread-safe and immutable: taking a region off the registry, or registering its name anew, changes nothing
// for requests that hold it. Owned by the registry and by the requests that use it.
class SharedRegion {
 public:
  // Opens the file of `key` ("/name" or "name", as shm_open has it). Fails with InvalidInput where the rules
  // or the file's size do not allow it, NotFound where there is no such file.
  static Result<std::shared_ptr<const SharedRegion>> Open(const SharedMemoryRules& rules, std::string name,
                                                          std::string key, uint64_t offset, uint64_t bytes);

  const std::string& name() const { return name_; }
  const std::string& key() const { return key_; }
  uint64_t offset() const { return offset_; }
  uint64_t bytes() const { return bytes_; }

  // Whether `bytes` at `offset` lie in the region, and the file still has them. Fails with InvalidInput.
  Status Check(uint64_t offset, uint64_t bytes) const;
  // Whether what was read from or written to that place meanwhile really was.
  Status CheckAfter(uint64_t offset, uint64_t bytes) const;

  // Read-only memory of the whole region.
  const std::byte* readable() const { return readable_->data(); }
  // Writable memory of it, made when first asked for. Fails with InvalidInput where the file may not be
  // written to.
  Result<std::byte*> Writable() const EXCLUDES(mu_);
  // Whether both are parts of one file that overlap.
  bool Overlaps(uint64_t offset, uint64_t bytes, const SharedRegion& other, uint64_t other_offset,
                uint64_t other_bytes) const;

 private:
  SharedRegion() = default;
  static Status OpenFile(const SharedMemoryRules& rules, SharedRegion& region);
  bool broken() const;

  // Constant after Open.
  std::string name_, key_;
  uint64_t offset_ = 0;
  uint64_t bytes_ = 0;
  FileDescriptor file_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  bool may_write_ = false;
  std::shared_ptr<const GuardedMapping> readable_;

  mutable Mutex mu_;  // a leaf
  mutable std::shared_ptr<const GuardedMapping> writable_ GUARDED_BY(mu_);
  // writable_, published (release) once it is there to those who ask without the lock (acquire).
  mutable std::atomic<const GuardedMapping*> writable_now_{nullptr};
};

}  // namespace falaj::wire

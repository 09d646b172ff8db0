// A file's bytes in our address space, where somebody else may cut the file shorter at any time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/status.h"

namespace falaj::wire {

// A shared mapping of a part of a file. Touching a page that the file no longer has (or that the file system
// has no room for) raises SIGBUS, which would end the process: a handler puts private, zeroed memory in the
// place of the whole mapping instead, marks it as broken, and whoever touched it goes on. So what was read
// or written is worth something only if the mapping is not broken afterwards.
//
// Immutable but for `broken`. Shared by a region and the requests that use it; unmapped by the last of them,
// on any thread.
class GuardedMapping {
 public:
  enum class Access { kRead, kWrite };

  // `fd` may be closed afterwards. Fails with Unavailable where there is no room for another mapping.
  // REQUIRES: bytes > 0
  static Result<std::shared_ptr<const GuardedMapping>> Map(int fd, uint64_t offset, size_t bytes,
                                                           Access access);
  ~GuardedMapping();
  GuardedMapping(const GuardedMapping&) = delete;
  GuardedMapping& operator=(const GuardedMapping&) = delete;

  // Of the byte at `offset`. Not to be written to unless mapped for that.
  std::byte* data() const { return data_; }
  bool broken() const;

  // Puts the handler in front of whatever handles SIGBUS now, which gets the signals that are not ours; Map
  // does so too. Does nothing where it is in front already. Thread-safe.
  static void Guard();

 private:
  GuardedMapping(size_t slot, std::byte* begin, size_t mapped_bytes, size_t skipped)
      : slot_(slot), begin_(begin), mapped_bytes_(mapped_bytes), data_(begin + skipped) {}

  const size_t slot_;  // in the table that the handler looks into
  std::byte* const begin_;
  const size_t mapped_bytes_;
  std::byte* const data_;
};

}  // namespace falaj::wire

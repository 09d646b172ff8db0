#include "wire/shared_region.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>

namespace falaj::wire {
namespace {

constexpr size_t kLongestKey = 255;  // NAME_MAX
constexpr uint64_t kMost = uint64_t{1} << 62;

bool IsKeyCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.';
}

// The name of the file, without the slashes that shm_open steps over too.
std::string_view FileOf(std::string_view key) {
  const size_t begin = key.find_first_not_of('/');
  return begin == std::string_view::npos ? std::string_view() : key.substr(begin);
}

Status CheckKey(const SharedMemoryRules& rules, const std::string& where, std::string_view key) {
  const std::string_view file = FileOf(key);
  const bool fine = !file.empty() && file.size() <= kLongestKey && file[0] != '.' &&
                    std::all_of(file.begin(), file.end(), IsKeyCharacter);
  if (!fine) {
    return InvalidInput(where + "expected a key of 1 to " + std::to_string(kLongestKey) +
                        " letters, digits, '_', '-' and '.', not beginning with '.'" +
                        (key.size() <= kLongestKey ? ", got '" + std::string(key) + "'" : ""));
  }
  std::string known;
  for (const std::string& prefix : rules.prefixes) {
    if (file.starts_with(prefix)) return Status::Ok();
    known += (known.empty() ? "'" : " or '") + prefix + "'";
  }
  return InvalidInput(where + "expected a key that begins with " + known +
                      " (the server's setting shared_memory.prefix), got '" + std::string(key) + "'");
}

std::string Text(int error) { return std::generic_category().message(error); }

}  // namespace

Status SharedRegion::OpenFile(const SharedMemoryRules& rules, SharedRegion& region) {
  const std::string path = rules.folder + "/" + std::string(FileOf(region.key_));
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  region.file_ = FileDescriptor(open(path.c_str(), O_RDWR | kFlags));
  region.may_write_ = region.file_.valid();
  if (!region.file_.valid() && (errno == EACCES || errno == EROFS)) {
    region.file_ = FileDescriptor(open(path.c_str(), O_RDONLY | kFlags));
  }
  if (region.file_.valid()) return Status::Ok();
  const int error = errno;
  const std::string text = "Unable to open shared memory region: '" + region.key_ + "' (" + Text(error) + ")";
  if (error == ENOENT) return NotFound(text);
  return error == EMFILE || error == ENFILE ? Unavailable(text) : InvalidInput(text);
}

Result<std::shared_ptr<const SharedRegion>> SharedRegion::Open(const SharedMemoryRules& rules,
                                                               std::string name, std::string key,
                                                               uint64_t offset, uint64_t bytes) {
  const std::string where = "failed to register shared memory region '" + name + "': ";
  FALAJ_RETURN_IF_ERROR(CheckKey(rules, where, key));
  if (bytes == 0) return InvalidInput(where + "expected a byte_size of 1 or more");
  if (offset > kMost || bytes > kMost) return InvalidInput(where + "offset and byte_size are too large");
  const std::shared_ptr<SharedRegion> region(new SharedRegion);
  region->name_ = std::move(name);
  region->key_ = std::move(key);
  region->offset_ = offset;
  region->bytes_ = bytes;
  FALAJ_RETURN_IF_ERROR(OpenFile(rules, *region));
  struct stat file {};
  if (fstat(region->file_.get(), &file) != 0) return Internal(where + "fstat: " + Text(errno));
  if (!S_ISREG(file.st_mode)) return InvalidInput(where + "'" + region->key_ + "' is no regular file");
  const bool ours = file.st_uid == geteuid() ||
                    std::find(rules.owners.begin(), rules.owners.end(), file.st_uid) != rules.owners.end();
  if (!ours) {
    return InvalidInput(where + "'" + region->key_ + "' belongs to user " + std::to_string(file.st_uid) +
                        ", who is neither the server's nor among shared_memory.owners");
  }
  if (offset + bytes > static_cast<uint64_t>(file.st_size)) {
    return InvalidInput(where + "expected offset + byte_size of at most " + std::to_string(file.st_size) +
                        ", the size of '" + region->key_ + "', got " + std::to_string(offset + bytes));
  }
  region->device_ = file.st_dev;
  region->inode_ = file.st_ino;
  auto mapping = GuardedMapping::Map(region->file_.get(), offset, bytes, GuardedMapping::Access::kRead);
  if (!mapping.ok()) return Status(mapping.status().code(), where + mapping.status().message());
  region->readable_ = std::move(*mapping);
  return std::shared_ptr<const SharedRegion>(region);
}

bool SharedRegion::broken() const {
  const GuardedMapping* const writable = writable_now_.load(std::memory_order_acquire);
  return readable_->broken() || (writable != nullptr && writable->broken());
}

Status SharedRegion::Check(uint64_t offset, uint64_t bytes) const {
  if (offset > bytes_ || bytes > bytes_ - offset) {
    return InvalidInput("Invalid offset + byte size for shared memory region: '" + name_ +
                        "' (expected at most " + std::to_string(bytes_) + ", got " + std::to_string(offset) +
                        " + " + std::to_string(bytes) + ")");
  }
  return CheckAfter(offset, bytes);
}

Status SharedRegion::CheckAfter(uint64_t offset, uint64_t bytes) const {
  struct stat file {};
  const bool holds =
      fstat(file_.get(), &file) == 0 && offset_ + offset + bytes <= static_cast<uint64_t>(file.st_size);
  if (holds && !broken()) return Status::Ok();
  const std::string what = "shared memory region '" + name_ + "': '" + key_ + "' was cut shorter";
  if (!broken()) return InvalidInput(what + " after it had been registered");
  return InvalidInput(what + " (or its file system is full) while it was used, and is not used any more: " +
                      "register it anew");
}

Result<std::byte*> SharedRegion::Writable() const {
  MutexLock lock(mu_);
  if (writable_ == nullptr) {
    if (!may_write_) {
      return InvalidInput("shared memory region '" + name_ + "': the server may not write to '" + key_ + "'");
    }
    auto mapping = GuardedMapping::Map(file_.get(), offset_, bytes_, GuardedMapping::Access::kWrite);
    if (!mapping.ok()) {
      return Status(mapping.status().code(),
                    "shared memory region '" + name_ + "': " + mapping.status().message());
    }
    writable_ = std::move(*mapping);
    writable_now_.store(writable_.get(), std::memory_order_release);
  }
  return writable_->data();
}

bool SharedRegion::Overlaps(uint64_t offset, uint64_t bytes, const SharedRegion& other, uint64_t other_offset,
                            uint64_t other_bytes) const {
  if (device_ != other.device_ || inode_ != other.inode_) return false;
  const uint64_t begin = offset_ + offset;
  const uint64_t other_begin = other.offset_ + other_offset;
  return begin < other_begin + other_bytes && other_begin < begin + bytes;
}

}  // namespace falaj::wire

// A composite key as bytes.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "join/columns.h"

namespace falaj {

// Integers are 8 bytes, the highest first; text is its length in 2 bytes and its characters. No two keys of
// one view are the same bytes. Allocates nothing. Not thread-safe.
class EntityKey {
 public:
  static constexpr size_t kMaxBytes = 511;  // LMDB's

  // Whether the key of `row` fits. REQUIRES: the types of keys, none null.
  [[nodiscard]] bool Encode(std::span<const ColumnData> keys, size_t row);

  std::string_view bytes() const { return {bytes_.data(), size_}; }

 private:
  [[nodiscard]] bool Append(uint64_t value, size_t size);

  std::array<char, kMaxBytes> bytes_{};
  size_t size_ = 0;
};

}  // namespace falaj

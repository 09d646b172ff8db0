// As of when entities are looked up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace falaj {

// Times in UTC µs: one for all entities of a look-up, or one for each. Owns nothing.
class AsOf {
 public:
  AsOf(int64_t all) : all_(all) {}  // NOLINT: a time is one
  // REQUIRES: as many as there are entities; they outlive the look-up.
  explicit AsOf(std::span<const int64_t> each) : each_(each.data()) {}

  int64_t operator[](size_t entity) const { return each_ == nullptr ? all_ : each_[entity]; }

 private:
  int64_t all_ = 0;
  const int64_t* each_ = nullptr;
};

}  // namespace falaj

// The parameters that say that a tensor lies in shared memory, as they are read one by one.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/status.h"
#include "wire/infer_header.h"
#include "wire/json_path.h"

namespace falaj::wire {

struct SharedParameters {
  static constexpr std::string_view kRegion = "shared_memory_region";
  static constexpr std::string_view kOffset = "shared_memory_offset";
  static constexpr std::string_view kBytes = "shared_memory_byte_size";

  std::optional<std::string_view> region;
  std::optional<int64_t> offset, bytes;  // not negative

  // What they say together; leaves `place` as it is where there are none. `where` is the parameters' path.
  // Fails with InvalidInput where one of those that are needed is missing.
  Status Take(const JsonPath& where, std::optional<SharedPlace>& place) const;
};

}  // namespace falaj::wire

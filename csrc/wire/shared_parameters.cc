#include "wire/shared_parameters.h"

#include <string>

namespace falaj::wire {

Status SharedParameters::Take(const JsonPath& where, std::optional<SharedPlace>& place) const {
  if (!region && !offset && !bytes) return Status::Ok();
  if (!region) return InvalidInput(where.Key(kRegion) + " is missing");
  if (!bytes) return InvalidInput(where.Key(kBytes) + " is missing");
  if (region->empty()) return InvalidInput(where.Key(kRegion) + ": expected a region's name");
  place = {*region, static_cast<uint64_t>(offset.value_or(0)), static_cast<uint64_t>(*bytes)};
  return Status::Ok();
}

}  // namespace falaj::wire

// The data of one tensor in JSON: an array, nested or flat, into the tensor's memory. Only for files that
// include simdjson.
#pragma once

#include <simdjson.h>

#include "core/status.h"
#include "core/tensor.h"
#include "wire/json_path.h"

namespace falaj::wire {

// Reads exactly view.elements() values. Numbers must be in the type's range: integers whole, floats not
// larger than the type's largest. NaN, Infinity and -Infinity are taken as Python's json writes them. BOOL
// takes true and false, BYTES strings, whose characters are copied to `payload`, which is advanced. `where`
// begins error messages.
Status ReadJsonData(simdjson::ondemand::value value, const TensorView& view, int max_depth,
                    const JsonPath& where, std::byte*& payload);

}  // namespace falaj::wire

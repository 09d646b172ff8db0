// What can be told of an encoded image before it is decoded.
#pragma once

#include <cstdint>
#include <span>

#include "core/status.h"

namespace falaj {

// Fails with InvalidInput where `bytes` begin as a JPEG does and end before it does: in a segment, without a
// scan, or with no end of image behind its first scan. A decoder that waits for more would wait forever. What
// begins otherwise is left to the decoder. Segments are walked as ITU-T T.81, annex B, has them.
Status CheckImageIsWhole(std::span<const uint8_t> bytes);

}  // namespace falaj

// Tensors as the protocol's binary data extension (and gRPC's raw contents) carry them: little-endian,
// row-major, unpadded; BOOL one byte, BYTES a uint32 length before each element's bytes.
#pragma once

#include <span>
#include <string>

#include "core/status.h"
#include "core/tensor.h"

namespace falaj::wire {

// Characters in `blob`, the form of `elements` BYTES elements, so that memory for them can be reserved. Fails
// with InvalidInput where the lengths in it do not add up to its own.
Result<size_t> CountCharacters(std::span<const std::byte> blob, int64_t elements);

// Whether `blob` is as long as it has to be, so that nothing is reserved for a tensor that is not there; for
// BYTES CountCharacters tells. Fails with InvalidInput. REQUIRES: `type` is not BYTES
Status CheckBinarySize(std::span<const std::byte> blob, DataType type, const Shape& shape);

// Copies `blob` into `view`; BYTES elements point at their characters, copied to `payload`, which is
// advanced. Fails with InvalidInput where the size is not that of the view's shape, or a BOOL is neither 0
// nor 1.
Status ReadBinary(std::span<const std::byte> blob, const TensorView& view, std::byte*& payload);

// Makes `view` the tensor whose form is `blob`, without copying it: BYTES elements point into it, and other
// types' data is there already (view.data). Fails as ReadBinary does. Nobody else may write to `blob`: what
// was checked has to stay.
Status AdoptBinary(std::span<const std::byte> blob, const TensorView& view);

// Size of the form of `view`, and appending it or writing it to so many bytes.
[[nodiscard]] size_t BinaryBytes(const TensorView& view);
void AppendBinary(const TensorView& view, std::string& out);
void WriteBinary(const TensorView& view, std::byte* to);

}  // namespace falaj::wire

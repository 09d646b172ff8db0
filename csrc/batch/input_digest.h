// What makes two requests of one model version equal: a digest of their inputs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "core/tensor.h"

namespace falaj {

struct Digest {
  std::array<uint64_t, 4> words{};
  bool operator==(const Digest&) const = default;
};

// Its bits are as good as random, whatever clients send.
struct DigestHash {
  size_t operator()(const Digest& digest) const noexcept { return static_cast<size_t>(digest.words[0]); }
};

// Larger requests are not looked up: a digest takes its thread 0.6 ns a byte where the processor has
// instructions for SHA-256 (measured), and some times as long without.
inline constexpr size_t kMostDigestedBytes = size_t{16} << 20;

// SHA-256 of the shapes and the data, bit by bit (a NaN is equal to itself, 0 and -0 differ), of inputs whose
// number and data types the model fixes: requests of different shapes or other bytes never have one digest,
// unless somebody finds a collision of SHA-256. Allocates nothing after a thread's first call. None where the
// inputs are larger than kMostDigestedBytes or memory is out.
std::optional<Digest> DigestOf(std::span<const TensorView> inputs);

}  // namespace falaj

// What makes two requests of one model version equal: a keyed digest of their inputs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "core/status.h"
#include "core/tensor.h"

namespace falaj {

struct Digest {
  std::array<uint64_t, 2> words{};
  bool operator==(const Digest&) const = default;
};

// Its bits are as good as random, whatever clients send.
struct DigestHash {
  size_t operator()(const Digest& digest) const noexcept { return static_cast<size_t>(digest.words[0]); }
};

// Larger requests are not looked up: a digest is one thread's work, and its thread may have others to serve.
inline constexpr size_t kMostDigestedBytes = size_t{16} << 20;

// A secret function of inputs, drawn at random for each object: no client knows it, no digest leaves the
// process, and digests of two objects have nothing in common. Two different requests of at most n blocks of
// 16 bytes have one digest with a probability of at most n / 2^103, whoever chose them, and nothing else of a
// digest can be told from random bits (docs/decisions/0040-response-cache.md has the argument).
//
// Thread-safe; immutable.
class InputHash {
 public:
  // Fails with Internal or Unsupported where the system lacks random bytes, or OpenSSL what this is made of.
  static Result<std::unique_ptr<const InputHash>> Make();
  ~InputHash();
  InputHash(const InputHash&) = delete;
  InputHash& operator=(const InputHash&) = delete;

  // Of the shapes and the data, bit by bit (a NaN is equal to itself, 0 and -0 differ), of inputs whose
  // number and data types the model fixes. Allocates nothing after a thread's first call. None where the
  // inputs are larger than kMostDigestedBytes or memory is out.
  std::optional<Digest> Of(std::span<const TensorView> inputs) const;

  // Two keys: of what compresses, and of what hides the result.
  using Secret = std::array<unsigned char, 64>;

 private:
  InputHash() = default;

  Secret secret_{};  // constant after Make
};

}  // namespace falaj

// Ids of traces and spans: random, not secret.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <random>

namespace falaj {

// xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), seeded by the
// operating system. One thread's.
class RandomIds {
 public:
  RandomIds() {
    std::random_device seed;
    for (uint64_t& word : state_) word = uint64_t{seed()} << 32 | seed();
    state_[0] |= 1;  // never all zero
  }

  std::array<uint8_t, 16> Trace() {
    std::array<uint8_t, 16> id;
    Fill(id.data());
    Fill(id.data() + 8);
    return id;
  }
  std::array<uint8_t, 8> Span() {
    std::array<uint8_t, 8> id;
    Fill(id.data());
    return id;
  }

 private:
  // Eight bytes, not all zero: W3C's and OpenTelemetry's mark of no id.
  void Fill(uint8_t* bytes) {
    uint64_t word = 0;
    while (word == 0) word = Next();
    std::memcpy(bytes, &word, sizeof(word));
  }
  uint64_t Next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  std::array<uint64_t, 4> state_{};
};

}  // namespace falaj

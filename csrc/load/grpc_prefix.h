// The five bytes before a gRPC message: not compressed, and its length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace falaj::load {

inline constexpr size_t kGrpcPrefixBytes = 5;

inline std::array<uint8_t, kGrpcPrefixBytes> GrpcPrefix(size_t message_bytes) {
  const auto byte = [&](int shift) { return static_cast<uint8_t>(message_bytes >> shift); };
  return {0, byte(24), byte(16), byte(8), byte(0)};
}

// Whether `prefix` announces an uncompressed message of so many bytes.
inline bool IsGrpcPrefix(const std::array<uint8_t, kGrpcPrefixBytes>& prefix, size_t message_bytes) {
  return prefix == GrpcPrefix(message_bytes);
}

}  // namespace falaj::load

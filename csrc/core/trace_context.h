// Where a request stands in a distributed trace (W3C Trace Context).
#pragma once

#include <array>
#include <cstdint>

namespace falaj {

// Written by the submitter before the request is enqueued; all zero where nobody traces it.
struct TraceContext {
  std::array<uint8_t, 16> trace_id{};
  std::array<uint8_t, 8> parent_id{};  // of the client's span; zero: the trace begins here
  std::array<uint8_t, 8> span_id{};    // of this request's own span
  bool sampled = false;
};

}  // namespace falaj

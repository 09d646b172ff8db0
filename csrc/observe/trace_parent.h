// The text of W3C Trace Context (https://www.w3.org/TR/trace-context-2/): where a client stands in its trace.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace falaj {

// What a `traceparent` says.
struct TraceParent {
  std::array<uint8_t, 16> trace_id{};  // not all zero
  std::array<uint8_t, 8> parent_id{};  // not all zero
  bool sampled = false;
};

// None where it is malformed (section 3.2): it is then as if there were none. Of versions that are not known
// yet the part that is known is read. A field that came twice, joined by a comma, is malformed.
std::optional<TraceParent> ParseTraceParent(std::string_view text);

// Whether a `tracestate` is well-formed (section 3.3) and short enough to be handed on.
inline constexpr size_t kMostTraceState = 512;
bool IsTraceState(std::string_view text);

}  // namespace falaj

// What is kept of a sampled request until it becomes spans.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/mutex.h"
#include "core/trace_context.h"
#include "observe/trace_parent.h"

namespace falaj {

// How a request came. kStep: a part of another request (a step of a pipeline), whose span is the parent.
enum class TraceKind : uint8_t { kHttp, kGrpc, kGrpcStream, kStep };

struct TraceTimes {
  TimePoint began{};      // its first byte; of a step: it was asked for
  TimePoint enqueued{};   // decoded and handed to the model, or found bad
  TimePoint started{};    // its batch began to be assembled
  TimePoint finished{};   // the model's answer was there
  TimePoint delivered{};  // and with whoever writes it
  TimePoint ended{};      // the answer is ready to be sent
};

// Of fixed size and without pointers, so that it goes through a ring as bytes. A time that was not reached is
// TimePoint{}, and the part of the request that it begins or ends has no span then.
struct TraceRecord {
  static constexpr size_t kMostName = 128;  // what is longer is cut
  static constexpr size_t kMostPath = 256;

  TraceContext context;
  TraceKind kind = TraceKind::kHttp;
  bool tls = false;
  bool by_port = true;     // not by a Unix socket
  int32_t status = 0;      // HTTP's, or gRPC's; of a step the Code
  int64_t version = 0;     // 0: none was found
  int64_t rows = 0;        // of the request
  int64_t batch_rows = 0;  // of the batch that it was in
  TraceTimes times;
  uint16_t name_bytes = 0;   // of `text`: the model's name, then
  uint16_t path_bytes = 0;   // the path that was asked, of HTTP; a step's name in its pipeline; then
  uint16_t state_bytes = 0;  // the client's tracestate
  std::array<char, kMostName + kMostPath + kMostTraceState> text;  // only as much as the sizes say is set

  // UTF-8, all three.
  void SetText(std::string_view name, std::string_view path, std::string_view state) {
    name_bytes = Append(0, name, kMostName);
    path_bytes = Append(name_bytes, path, kMostPath);
    state_bytes = Append(static_cast<size_t>(name_bytes) + path_bytes, state, kMostTraceState);
  }
  std::string_view name() const { return {text.data(), name_bytes}; }
  std::string_view path() const { return {text.data() + name_bytes, path_bytes}; }
  std::string_view state() const { return {text.data() + name_bytes + path_bytes, state_bytes}; }

  // What of it has to be copied.
  size_t bytes() const {
    return offsetof(TraceRecord, text) + static_cast<size_t>(name_bytes) + path_bytes + state_bytes;
  }

 private:
  uint16_t Append(size_t at, std::string_view from, size_t most) {
    size_t size = std::min(from.size(), most);
    // Not in the middle of a character of UTF-8.
    if (size < from.size()) {
      while (size > 0 && (static_cast<uint8_t>(from[size]) & 0xc0) == 0x80) --size;
    }
    from.copy(text.data() + at, size);  // which may be a view of nothing
    return static_cast<uint16_t>(size);
  }
};
static_assert(std::is_trivially_copyable_v<TraceRecord>);

}  // namespace falaj

// Records of sampled requests as OpenTelemetry's spans, in the protobuf encoding of OTLP
// (opentelemetry-proto, trace.proto). Written here rather than by OpenTelemetry's SDK, in which the spans of
// one request take 50 times as long as the request.
#pragma once

#include <cstdint>
#include <string>

#include "core/mutex.h"
#include "observe/random_ids.h"
#include "observe/trace_record.h"

namespace falaj {

// Where the server listens; 0: not there.
struct TraceServer {
  std::string address;
  uint16_t http_port = 0;
  uint16_t grpc_port = 0;
};

// A request is a span of kind SERVER named "infer MODEL" (a step: INTERNAL, "step MODEL") and below it
// "parse", "queue", "compute" and "serialise", as far as it came. Attributes are those of OpenTelemetry's
// semantic conventions, and Falaj's own, which docs/tracing.md lists. Not thread-safe.
class SpanEncoder {
 public:
  // Times are told by the wall clock of now, from which the monotonic clock leads back: the spans of one
  // request cannot get out of order where the wall clock is set.
  void Begin(const TraceServer& server);
  // Appends `ScopeSpans.spans` fields.
  void Append(const TraceRecord& record, RandomIds& ids, std::string& out);

 private:
  void AppendPart(const TraceRecord& record, std::string_view name, TimePoint begin, TimePoint end,
                  RandomIds& ids, std::string& out);
  void BeginSpan(const TraceRecord& record, const std::array<uint8_t, 8>& id,
                 const std::array<uint8_t, 8>& parent);
  void NameSpan(std::string_view name, int kind, TimePoint begin, TimePoint end);
  void AddRequestAttributes(const TraceRecord& record);
  void AddHttpAttributes(const TraceRecord& record);
  void AddGrpcAttributes(const TraceRecord& record);
  void AddText(std::string_view key, std::string_view value);
  void AddInteger(std::string_view key, int64_t value);
  uint64_t UnixNanos(TimePoint time) const;

  TraceServer server_;
  TimePoint anchor_{};
  int64_t anchor_unix_ns_ = 0;
  std::string name_, span_;  // of the span that is being written
};

}  // namespace falaj

// One thread's way into the traces: decides which of its requests are sampled, and keeps their records.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "observe/random_ids.h"
#include "observe/tracing.h"

namespace falaj {

// Not thread-safe; its Tracing is shared.
class Tracer {
 public:
  explicit Tracer(std::shared_ptr<Tracing> tracing) : tracing_(std::move(tracing)) {}
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // Whether any request may be sampled: where not, Begin need not be asked.
  bool on() const { return tracing_->on(); }

  // A record of the request, with its ids and texts; null where it is not sampled. `model` and `path` are
  // UTF-8; `traceparent` and `tracestate` are as the client sent them, empty where it did not, and passed
  // over where they are malformed.
  std::unique_ptr<TraceRecord> Begin(std::string_view model, std::string_view path,
                                     std::string_view traceparent, std::string_view tracestate);
  // Its last time is set: it is exported, or dropped and counted where the exporter is behind.
  void End(std::unique_ptr<TraceRecord> record);

 private:
  static constexpr size_t kKeep = 64;
  const TraceRules& Rules();

  const std::shared_ptr<Tracing> tracing_;
  uint64_t generation_ = 0;
  std::shared_ptr<const TraceRules> rules_;
  std::shared_ptr<Tracing::Lane> lane_;  // made with the first record
  std::optional<RandomIds> ids_;         // seeded with the first
  std::vector<std::unique_ptr<TraceRecord>> idle_;
};

}  // namespace falaj

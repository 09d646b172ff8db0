#include "observe/tracer.h"

namespace falaj {

const TraceRules& Tracer::Rules() {
  const uint64_t generation = tracing_->generation_.load(std::memory_order_acquire);
  if (rules_ == nullptr || generation != generation_) {
    MutexLock lock(tracing_->mu_);
    rules_ = tracing_->rules_;
    generation_ = tracing_->generation_.load(std::memory_order_relaxed);
  }
  return *rules_;
}

std::unique_ptr<TraceRecord> Tracer::Begin(std::string_view model, std::string_view path,
                                           std::string_view traceparent, std::string_view tracestate) {
  const auto parent = ParseTraceParent(traceparent);
  if (!Rules().Of(model).Sample(parent ? &*parent : nullptr)) return nullptr;
  if (!ids_) ids_.emplace();
  std::unique_ptr<TraceRecord> record;
  if (idle_.empty()) {
    record = std::make_unique<TraceRecord>();
  } else {
    record = std::move(idle_.back());
    idle_.pop_back();
    record->times = {};
    record->version = record->rows = record->batch_rows = 0;
  }
  TraceContext& context = record->context;
  context = {};
  context.sampled = true;
  context.trace_id = parent ? parent->trace_id : ids_->Trace();
  if (parent) context.parent_id = parent->parent_id;
  context.span_id = ids_->Span();
  record->SetText(model, path, parent && IsTraceState(tracestate) ? tracestate : std::string_view());
  return record;
}

void Tracer::End(std::unique_ptr<TraceRecord> record) {
  if (lane_ == nullptr) {
    lane_ = std::make_shared<Tracing::Lane>();
    tracing_->AddLane(lane_);
  }
  tracing_->Put(*lane_, *record);
  if (idle_.size() < kKeep) idle_.push_back(std::move(record));
}

}  // namespace falaj

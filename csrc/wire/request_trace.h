// The trace of one infer request on its way through the wire: nothing, or the record of a sampled one.
#pragma once

#include <memory>
#include <string_view>

#include "batch/request.h"
#include "observe/tracer.h"
#include "wire/protocol.h"
#include "wire/trace_fields.h"

namespace falaj::wire {

// Where nothing is sampled each step is the look at a null pointer, and Begin is not called. Its steps, in
// order: Begin, Decoded, Delivered where the request got that far, End. One I/O thread's.
class RequestTrace {
 public:
  // `path`: as it was sent, of HTTP.
  void Begin(Tracer& tracer, TraceKind kind, const Peer& peer, std::string_view model, std::string_view path,
             const TraceFields& fields, TimePoint began);
  // For the request itself; null where it is not sampled. Holds until End.
  const TraceContext* context() const { return record_ == nullptr ? nullptr : &record_->context; }

  void Decoded(TimePoint now) {
    if (record_ != nullptr) record_->times.enqueued = now;
  }
  void Delivered(const Request& request, TimePoint now) {
    if (record_ != nullptr) Note(request, now);
  }
  // `status`: HTTP's or gRPC's.
  void End(Tracer& tracer, int status, TimePoint now) {
    if (record_ != nullptr) Finish(tracer, status, now);
  }

 private:
  void Note(const Request& request, TimePoint now);
  void Finish(Tracer& tracer, int status, TimePoint now);

  std::unique_ptr<TraceRecord> record_;
};

}  // namespace falaj::wire

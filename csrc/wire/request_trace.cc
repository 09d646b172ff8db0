#include "wire/request_trace.h"

#include <algorithm>
#include <string>
#include <utility>

#include "batch/batcher.h"
#include "wire/utf8.h"

namespace falaj::wire {
namespace {

// Spans hold UTF-8 and nothing else: a receiver drops a whole export with anything else in it.
std::string_view AsUtf8(std::string_view text, std::string& scratch) {
  if (IsUtf8(text)) return text;
  scratch.assign(text);
  std::replace_if(
      scratch.begin(), scratch.end(), [](char c) { return (c & 0x80) != 0; }, '?');
  return scratch;
}

}  // namespace

void RequestTrace::Begin(Tracer& tracer, TraceKind kind, const Peer& peer, std::string_view model,
                         std::string_view path, const TraceFields& fields, TimePoint began) {
  std::string model_text, path_text;
  record_ = tracer.Begin(AsUtf8(model, model_text), AsUtf8(path, path_text), fields.parent, fields.state);
  if (record_ == nullptr) return;
  record_->kind = kind;
  record_->tls = peer.tls;
  record_->by_port = peer.port != 0;
  record_->times.began = began;
}

void RequestTrace::Note(const Request& request, TimePoint now) {
  record_->times.started = request.started();
  record_->times.finished = request.finished();
  record_->times.delivered = now;
  record_->version = request.batcher().options().version;
  record_->rows = request.rows();
  record_->batch_rows = request.batch_rows();
}

void RequestTrace::Finish(Tracer& tracer, int status, TimePoint now) {
  record_->status = status;
  record_->times.ended = now;
  tracer.End(std::move(record_));
}

}  // namespace falaj::wire

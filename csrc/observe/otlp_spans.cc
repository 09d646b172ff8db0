#include "observe/otlp_spans.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <string_view>

#include "core/status.h"

namespace falaj {
namespace {

// Field numbers of Span (trace.proto), each with its wire type.
enum Tag : uint8_t {
  kTraceId = 1 << 3 | 2,
  kSpanId = 2 << 3 | 2,
  kTraceState = 3 << 3 | 2,
  kParentSpanId = 4 << 3 | 2,
  kName = 5 << 3 | 2,
  kKind = 6 << 3 | 0,
  kStart = 7 << 3 | 1,
  kEnd = 8 << 3 | 1,
  kAttributes = 9 << 3 | 2,
  kStatus = 15 << 3 | 2,
};
constexpr char kSpansOfScope = 2 << 3 | 2;
constexpr std::string_view kFlags = "\x85\x01";  // field 16, four bytes
constexpr std::string_view kStatusError("\x7a\x02\x18\x02", 4);
constexpr size_t kShort = 120;  // of an attribute's parts
constexpr int kInternalSpan = 1;
constexpr int kServerSpan = 2;
constexpr uint32_t kSampledFlag = 1;
constexpr uint32_t kHasIsRemote = 0x100;
constexpr uint32_t kIsRemote = 0x200;

constexpr std::array<std::string_view, 17> kGrpcCodes{
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

void AppendVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

size_t VarintBytes(uint64_t value) {
  size_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

template <typename T>
void AppendLittleEndian(T value, std::string& out) {
  static_assert(std::endian::native == std::endian::little);
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void AppendBytes(char tag, std::string_view bytes, std::string& out) {
  out += tag;
  AppendVarint(bytes.size(), out);
  out.append(bytes);
}

template <size_t kSize>
std::string_view View(const std::array<uint8_t, kSize>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), kSize};
}

// Of HTTP: those of the server itself are errors of its spans, those of clients are not; of gRPC the list of
// the conventions for servers.
bool IsError(const TraceRecord& record) {
  switch (record.kind) {
    case TraceKind::kHttp:
      return record.status >= 500;
    case TraceKind::kGrpc:
    case TraceKind::kGrpcStream:
      return record.status == 2 || record.status == 4 || (record.status >= 12 && record.status <= 15);
    case TraceKind::kStep:
      break;
  }
  return record.status != 0;
}

std::string ErrorName(const TraceRecord& record) {
  if (record.kind == TraceKind::kHttp) return std::to_string(record.status);
  if (record.kind == TraceKind::kStep) return CodeName(static_cast<Code>(record.status));
  return std::string(kGrpcCodes[static_cast<size_t>(record.status) % kGrpcCodes.size()]);
}

}  // namespace

void SpanEncoder::Begin(const TraceServer& server) {
  server_ = server;
  anchor_ = std::chrono::steady_clock::now();
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  anchor_unix_ns_ = std::chrono::duration_cast<Nanos>(since_epoch).count();
}

uint64_t SpanEncoder::UnixNanos(TimePoint time) const {
  return static_cast<uint64_t>(anchor_unix_ns_ + (time - anchor_).count());
}

void SpanEncoder::AddText(std::string_view key, std::string_view value) {
  const size_t any = 1 + VarintBytes(value.size()) + value.size();
  if (any + key.size() < kShort) {  // each size is one byte
    const std::array<char, 4> head{static_cast<char>(kAttributes), static_cast<char>(key.size() + any + 4),
                                   1 << 3 | 2, static_cast<char>(key.size())};
    const std::array<char, 4> middle{2 << 3 | 2, static_cast<char>(any), 1 << 3 | 2,
                                     static_cast<char>(value.size())};
    span_.append(head.data(), head.size()).append(key).append(middle.data(), middle.size()).append(value);
    return;
  }
  span_ += static_cast<char>(kAttributes);
  AppendVarint(1 + VarintBytes(key.size()) + key.size() + 1 + VarintBytes(any) + any, span_);
  AppendBytes(1 << 3 | 2, key, span_);
  span_ += 2 << 3 | 2;
  AppendVarint(any, span_);
  AppendBytes(1 << 3 | 2, value, span_);
}

void SpanEncoder::AddInteger(std::string_view key, int64_t value) {
  const auto bits = static_cast<uint64_t>(value);
  const size_t any = 1 + VarintBytes(bits);
  span_ += static_cast<char>(kAttributes);
  AppendVarint(1 + VarintBytes(key.size()) + key.size() + 1 + VarintBytes(any) + any, span_);
  AppendBytes(1 << 3 | 2, key, span_);
  span_ += 2 << 3 | 2;
  AppendVarint(any, span_);
  span_ += 3 << 3 | 0;
  AppendVarint(bits, span_);
}

void SpanEncoder::BeginSpan(const TraceRecord& record, const std::array<uint8_t, 8>& id,
                            const std::array<uint8_t, 8>& parent) {
  span_.clear();
  AppendBytes(static_cast<char>(kTraceId), View(record.context.trace_id), span_);
  AppendBytes(static_cast<char>(kSpanId), View(id), span_);
  if (record.state_bytes > 0) AppendBytes(static_cast<char>(kTraceState), record.state(), span_);
  if (parent != std::array<uint8_t, 8>{}) AppendBytes(static_cast<char>(kParentSpanId), View(parent), span_);
  const bool by_client = id == record.context.span_id && record.kind != TraceKind::kStep;
  const bool remote = by_client && parent != std::array<uint8_t, 8>{};
  span_.append(kFlags);
  AppendLittleEndian(kSampledFlag | kHasIsRemote | (remote ? kIsRemote : 0), span_);
}

void SpanEncoder::NameSpan(std::string_view name, int kind, TimePoint begin, TimePoint end) {
  AppendBytes(static_cast<char>(kName), name, span_);
  span_ += static_cast<char>(kKind);
  span_ += static_cast<char>(kind);
  span_ += static_cast<char>(kStart);
  AppendLittleEndian(UnixNanos(begin), span_);
  span_ += static_cast<char>(kEnd);
  AppendLittleEndian(UnixNanos(end), span_);
}

void SpanEncoder::AddHttpAttributes(const TraceRecord& record) {
  AddText("http.request.method", "POST");
  AddText("http.route", record.path().find("/versions/") == std::string_view::npos
                            ? "/v2/models/{model}/infer"
                            : "/v2/models/{model}/versions/{version}/infer");
  AddText("url.path", record.path());
  AddText("url.scheme", record.tls ? "https" : "http");
  AddInteger("http.response.status_code", record.status);
}

void SpanEncoder::AddGrpcAttributes(const TraceRecord& record) {
  AddText("rpc.system.name", "grpc");
  AddText("rpc.method", record.kind == TraceKind::kGrpc ? "inference.GRPCInferenceService/ModelInfer"
                                                        : "inference.GRPCInferenceService/ModelStreamInfer");
  AddText("rpc.response.status_code", kGrpcCodes[static_cast<size_t>(record.status) % kGrpcCodes.size()]);
}

void SpanEncoder::AddRequestAttributes(const TraceRecord& record) {
  if (record.kind != TraceKind::kStep) {
    const bool http = record.kind == TraceKind::kHttp;
    http ? AddHttpAttributes(record) : AddGrpcAttributes(record);
    const uint16_t port = http ? server_.http_port : server_.grpc_port;
    if (record.by_port && !server_.address.empty()) AddText("server.address", server_.address);
    if (record.by_port && port != 0) AddInteger("server.port", port);
  }
  if (record.kind == TraceKind::kStep) AddText("falaj.pipeline.step", record.path());
  if (record.name_bytes > 0) AddText("falaj.model.name", record.name());
  if (record.version > 0) AddInteger("falaj.model.version", record.version);
  if (record.rows > 0) AddInteger("falaj.request.rows", record.rows);
  if (record.batch_rows > 0) AddInteger("falaj.batch.rows", record.batch_rows);
  if (!IsError(record)) return;
  AddText("error.type", ErrorName(record));
  span_.append(kStatusError);
}

void SpanEncoder::AppendPart(const TraceRecord& record, std::string_view name, TimePoint begin, TimePoint end,
                             RandomIds& ids, std::string& out) {
  if (begin == TimePoint{} || end == TimePoint{}) return;
  BeginSpan(record, ids.Span(), record.context.span_id);
  NameSpan(name, kInternalSpan, begin, std::max(begin, end));
  AppendBytes(kSpansOfScope, span_, out);
}

void SpanEncoder::Append(const TraceRecord& record, RandomIds& ids, std::string& out) {
  const bool step = record.kind == TraceKind::kStep;
  const TraceTimes& times = record.times;
  name_ = step ? "step" : "infer";
  const std::string_view called = step && record.path_bytes > 0 ? record.path() : record.name();
  if (!called.empty()) name_.append(" ").append(called);
  BeginSpan(record, record.context.span_id, record.context.parent_id);
  NameSpan(name_, step ? kInternalSpan : kServerSpan, times.began, std::max(times.began, times.ended));
  AddRequestAttributes(record);
  AppendBytes(kSpansOfScope, span_, out);
  AppendPart(record, "parse", step ? TimePoint{} : times.began, times.enqueued, ids, out);
  AppendPart(record, "queue", times.enqueued, times.started, ids, out);
  // What was withdrawn from the queue ended when it would have started.
  const bool ran = times.finished > times.started;
  AppendPart(record, "compute", times.started, ran ? times.finished : TimePoint{}, ids, out);
  AppendPart(record, "serialise", times.delivered, step ? TimePoint{} : times.ended, ids, out);
}

}  // namespace falaj

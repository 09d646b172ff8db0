#include "wire/grpc_infer.h"

#include <utility>

#include "wire/grpc_stream.h"

namespace falaj::wire {
namespace {

constexpr size_t kKeepInfers = 1024;

}  // namespace

GrpcCodec::GrpcCodec(const CodecLimits& limits) : decoder(limits) {}
GrpcCodec::~GrpcCodec() = default;

std::unique_ptr<GrpcInfer> GrpcCodec::TakeInfer() {
  if (idle.empty()) return std::make_unique<GrpcInfer>();
  std::unique_ptr<GrpcInfer> infer = std::move(idle.back());
  idle.pop_back();
  return infer;
}

void GrpcCodec::KeepInfer(std::unique_ptr<GrpcInfer> infer) {
  infer->call.Clear();
  infer->stream = nullptr;
  infer->held_.clear();
  infer->delivered_ = false;
  if (idle.size() < kKeepInfers) idle.push_back(std::move(infer));
}

Status GrpcInfer::Start(std::span<const std::byte> message, TimePoint deadline, InferCall::Takes takes,
                        GrpcCodec& codec, Host& host, std::string_view& id) {
  const Status parsed = codec.decoder.Parse(message);
  if (host.tracer().on()) BeginTrace(host.tracer(), parsed.ok() ? codec.decoder.model_name() : "");
  FALAJ_RETURN_IF_ERROR(parsed);
  id = codec.decoder.header().id;
  return StartParsed(deadline, takes, codec, host);
}

void GrpcInfer::BeginTrace(Tracer& tracer, std::string_view model) {
  const GrpcHead& head = stream->head();
  const TraceKind kind = head.method() == GrpcMethod::kInfer ? TraceKind::kGrpc : TraceKind::kGrpcStream;
  trace.Begin(tracer, kind, stream->peer(), model, "", head.trace(), began);
}

Status GrpcInfer::StartParsed(TimePoint deadline, InferCall::Takes takes, GrpcCodec& codec, Host& host) {
  GrpcDecoder& decoder = codec.decoder;
  const Status admitted =
      call.Admit(host.models(), decoder.model_name(), decoder.model_version(), decoder.header(),
                 decoder.PayloadBytes(), host.sink(), TagOf(this), host.Now(), deadline,
                 host.options().default_timeout, takes, host.options().shared_memory);
  if (admitted.code() == Code::kNotFound && host.options().triton_compat) {
    return UnknownToTriton(decoder.model_name(), decoder.model_version());
  }
  FALAJ_RETURN_IF_ERROR(admitted);
  FALAJ_RETURN_IF_ERROR(decoder.Fill(call.inputs(), call.payload()));
  enqueued = std::chrono::steady_clock::now();
  trace.Decoded(enqueued);
  call.Enqueue(trace.context());
  return Status::Ok();
}

void GrpcInfer::OnDelivered(RefPtr<Request> request) {
  if (stream != nullptr) return stream->OnDelivered(*this, std::move(request));
  if (request->is_part()) return;
  delivered_ = true;
  if (!abandoning_) const std::unique_ptr<GrpcInfer> self(this);
}

void GrpcInfer::Hold(RefPtr<Request> request) {
  delivered_ = !request->is_part();
  held_.push_back(std::move(request));
}

RefPtr<Request> GrpcInfer::TakeHeld() {
  RefPtr<Request> request = std::move(held_.front());
  held_.pop_front();
  return request;
}

void GrpcInfer::Abandon() {
  stream = nullptr;
  held_.clear();
  abandoning_ = true;
  call.Cancel();
  abandoning_ = false;
  if (delivered_) const std::unique_ptr<GrpcInfer> self(this);
}

}  // namespace falaj::wire

// What a call asks for: a model natively, all else of the control plane. grpc_stream.cc is its coming and
// going.
#include <limits>
#include <new>
#include <utility>

#include "wire/grpc_encoder.h"
#include "wire/grpc_session.h"
#include "wire/grpc_stream.h"

namespace falaj::wire {
namespace {

constexpr size_t kCompressFrom = 1024;
// Of answers that the client has not taken, above which a model that answers several times waits.
constexpr size_t kMostAhead = 64 * 1024;
constexpr size_t kStreamOverhead = 16;  // of ModelStreamInferResponse around its one field
// Clients refuse a message of 2 GiB.
constexpr size_t kMostReplyBytes = std::numeric_limits<int32_t>::max() - kStreamOverhead;

GrpcFailure Unbufferable() {
  return {GrpcCode::kUnavailable, "too many answers wait to be taken; try again later"};
}

}  // namespace

// Whether the request may be begun; where not, it was answered.
bool GrpcStream::Begin() {
  const auto refusal = session_.host().shares().Begin(session_.holdings());
  if (!refusal) return true;
  session_.counters().Refuse(*refusal);
  GrpcFailure failure{GrpcCode::kUnavailable, "too many requests are under way; try again later"};
  if (*refusal == Refusal::kClientShare) {
    failure = {GrpcCode::kResourceExhausted, "this client has too many requests under way"};
  }
  if (head_.method() == GrpcMethod::kStreamInfer) {
    FailInfer(std::move(failure), "");
  } else {
    End(std::move(failure));
  }
  return false;
}

// What the control plane is asked stops being counted.
void GrpcStream::EndRequest() {
  if (std::exchange(begun_, false)) session_.host().shares().End(session_.holdings());
  if (std::exchange(watches_, false)) session_.DropWatch();
}

void GrpcStream::Infer(std::span<const std::byte> message) {
  WireCounters& counters = session_.counters();
  counters.infer_requests.Add(1);
  if (!Begin()) return;
  GrpcCodec& codec = session_.codec();
  std::unique_ptr<GrpcInfer> infer = codec.TakeInfer();
  infer->stream = this;
  infer->began = message_began_;
  infer->read = std::chrono::steady_clock::now();
  std::string_view id;
  const auto takes = head_.method() == GrpcMethod::kStreamInfer ? InferCall::Takes::kAnyNumber
                                                                : InferCall::Takes::kOneAnswer;
  const Status status = infer->Start(message, deadline_, takes, codec, session_.host(), id);
  if (!status.ok()) {
    EndFailedTrace(*infer, status);
    codec.KeepInfer(std::move(infer));
    session_.host().shares().End(session_.holdings());
    return FailInfer(ToGrpcFailure(status), id);
  }
  counters.decode.Add(NanosBetween(infer->read, infer->enqueued));
  infer->position = in_flight_.size();
  in_flight_.push_back(infer.release());
  session_.host().FlushLater(in_flight_.back()->call.batcher());
}

// Of a request that was never enqueued.
void GrpcStream::EndFailedTrace(GrpcInfer& infer, const Status& status) {
  if (infer.trace.context() == nullptr) return;
  const TimePoint now = std::chrono::steady_clock::now();
  infer.trace.Decoded(now);
  infer.trace.End(session_.host().tracer(), static_cast<int>(ToGrpcCode(status.code())), now);
}

// `id`: the request's, for the client of a stream to know it by.
void GrpcStream::FailInfer(GrpcFailure failure, std::string_view id) {
  if (head_.method() == GrpcMethod::kInfer || head_.errors_end_stream()) return End(std::move(failure));
  Count(failure.code);
  std::string& out = replies_.small();
  const size_t begin = BeginGrpcMessage(out);
  AppendStreamError(failure.message, id, out);
  EndGrpcMessage(/*compressed=*/false, begin, out);
  replies_.Added();
  Flush();
}

void GrpcStream::OnDelivered(GrpcInfer& infer, RefPtr<Request> request) {
  const bool may_wait = request->is_part() || request->batcher().options().decoupled;
  if (may_wait && (infer.holds() || replies_.bytes() > kMostAhead)) {
    if (!infer.holds()) ++holding_;
    return infer.Hold(std::move(request));
  }
  if (Answer(infer, std::move(request))) Resume();
}

// What waited for the client to take what was sent.
void GrpcStream::AnswerHeld() {
  for (size_t i = 0; i < in_flight_.size() && holding_ > 0;) {
    GrpcInfer& infer = *in_flight_[i];
    bool last = false;
    while (!last && infer.holds() && replies_.bytes() <= kMostAhead) {
      RefPtr<Request> request = infer.TakeHeld();
      if (!infer.holds()) --holding_;
      last = Answer(infer, std::move(request));
      if (ended_) return;
    }
    if (!last) ++i;  // else another has come to its place
  }
}

void GrpcStream::Forget(const GrpcInfer& infer) {
  in_flight_[infer.position] = in_flight_.back();
  in_flight_[infer.position]->position = infer.position;
  in_flight_.pop_back();
  session_.host().shares().End(session_.holdings());
}

// Returns whether it was the last, and `delivered` is gone.
bool GrpcStream::Answer(GrpcInfer& delivered, RefPtr<Request> request) {
  if (request->is_part()) {
    AnswerPart(delivered, std::move(request));
    return false;
  }
  std::unique_ptr<GrpcInfer> infer(&delivered);
  Forget(*infer);
  WireCounters& counters = session_.counters();
  const TimePoint taken = std::chrono::steady_clock::now();
  counters.wait.Add(NanosBetween(infer->enqueued, taken));
  infer->trace.Delivered(*request, taken);

  const Status status = infer->call.Take(std::move(request));
  const InferReply reply = infer->call.reply();
  const bool silent = status.ok() && infer->call.is_last_of_many() && !infer->call.empty_final();
  std::optional<GrpcFailure> failure;
  if (!status.ok()) {
    failure = ToGrpcFailure(status);
  } else if (!silent) {
    failure = Encode(reply);
  }
  const TimePoint encoded = std::chrono::steady_clock::now();
  counters.encode.Add(NanosBetween(taken, encoded));
  counters.request.Add(NanosBetween(infer->read, encoded));
  const GrpcCode code = failure ? failure->code : GrpcCode::kOk;
  infer->trace.End(session_.host().tracer(), static_cast<int>(code), encoded);
  if (failure) {
    FailInfer(std::move(*failure), reply.id);
  } else if (head_.method() == GrpcMethod::kInfer) {
    End({GrpcCode::kOk, ""});
  } else {
    Count(GrpcCode::kOk);
    if (!silent) Flush();
  }
  session_.codec().KeepInfer(std::move(infer));
  return true;
}

void GrpcStream::AnswerPart(GrpcInfer& infer, RefPtr<Request> part) {
  const Status status = infer.call.Take(std::move(part));
  std::optional<GrpcFailure> failure;
  if (status.ok()) {
    failure = Encode(infer.call.reply());
  } else {
    failure = ToGrpcFailure(status);
  }
  // One that cannot be told is not left out in silence: it ends the call.
  if (failure) return End(std::move(*failure));
  infer.call.DropPart();
  Flush();
}

bool GrpcStream::Deflates(size_t bytes) const {
  return compressed_ && bytes > kCompressFrom && head_.encoding() == Encoding::kGzip && head_.accepts_gzip();
}

// Adds the answer to the replies, or says why it cannot.
std::optional<GrpcFailure> GrpcStream::Encode(const InferReply& reply) {
  const size_t bytes = InferResponseBytes(reply);
  if (bytes > kMostReplyBytes) {
    return GrpcFailure{GrpcCode::kResourceExhausted,
                       "an answer of " + std::to_string(bytes) + " bytes is more than gRPC clients take"};
  }
  const auto append = [&](std::string& out) {
    head_.method() == GrpcMethod::kInfer ? AppendInferResponse(reply, bytes, out)
                                         : AppendStreamResponse(reply, bytes, out);
  };
  if (Deflates(bytes)) {
    GrpcCodec& codec = session_.codec();
    codec.plain.clear();
    append(codec.plain);
    return SendDeflated(codec.plain) ? std::nullopt : std::optional(Unbufferable());
  }
  if (bytes <= GrpcReplies::kLarge) {
    std::string& out = replies_.small();
    const size_t begin = BeginGrpcMessage(out);
    append(out);
    EndGrpcMessage(/*compressed=*/false, begin, out);
    replies_.Added();
    return std::nullopt;
  }
  try {
    auto large = std::make_shared<std::string>();
    large->reserve(kGrpcPrefixBytes + kStreamOverhead + bytes);
    const size_t begin = BeginGrpcMessage(*large);
    append(*large);
    EndGrpcMessage(/*compressed=*/false, begin, *large);
    if (replies_.Add(std::move(large))) return std::nullopt;
  } catch (const std::bad_alloc&) {
  }
  session_.counters().Refuse(Refusal::kBuffered);
  return Unbufferable();
}

bool GrpcStream::SendDeflated(std::string_view message) {
  std::string& deflated = session_.codec().deflated;
  deflated.clear();
  const bool fine = session_.codec().compressor.Compress(Encoding::kGzip, message, deflated).ok();
  const bool sent = Send(fine, fine ? deflated : message);  // plain where memory is out
  if (deflated.capacity() > GrpcReplies::kLarge) deflated = {};
  if (session_.codec().plain.capacity() > GrpcReplies::kLarge) session_.codec().plain = {};
  return sent;
}

// Adds a message to the replies. False: the server has buffered as much as it may.
bool GrpcStream::Send(bool compressed, std::string_view message) {
  if (message.size() <= GrpcReplies::kLarge) {
    AppendGrpcPrefix(compressed, message.size(), replies_.small());
    replies_.small().append(message);
    replies_.Added();
    return true;
  }
  auto large = std::make_shared<std::string>();
  large->reserve(kGrpcPrefixBytes + message.size());
  AppendGrpcPrefix(compressed, message.size(), *large);
  large->append(message);
  if (replies_.Add(std::move(large))) return true;
  session_.counters().Refuse(Refusal::kBuffered);
  return false;
}

void GrpcStream::Ask(std::span<const std::byte> message) {
  if (!Begin()) return;
  begun_ = true;
  ControlRequest request;
  request.listener = Listener::kGrpc;
  request.method = "POST";
  request.target = head_.path();
  request.http_minor = 0;
  request.headers = head_.fields();
  request.body.assign(reinterpret_cast<const char*>(message.data()), message.size());
  const Peer& peer = session_.peer();
  request.peer_address = peer.address;
  request.peer_port = peer.port;
  request.tls = peer.tls;
  request.certificate_subject = peer.certificate_subject;
  asked_ = session_.host().Ask(std::move(request), this);
  if (asked_ != 0) return;
  session_.counters().Refuse(Refusal::kControlQueue);
  End({GrpcCode::kUnavailable, "too many requests wait for the control plane; try again later"});
}

void GrpcStream::OnReply(ControlReply reply) {
  if (reply.last) {
    asked_ = 0;
    EndRequest();
  }
  if (reply.has_body) {
    const bool sent =
        Deflates(reply.body.size()) ? SendDeflated(reply.body) : Send(/*compressed=*/false, reply.body);
    if (!sent) return End(Unbufferable());
    Flush();
  }
  if (!reply.last) {
    // An answer that goes on may do so for as long as the client likes (Health/Watch): no request under way.
    if (begun_ && !session_.AddWatch()) {
      return End({GrpcCode::kResourceExhausted, "this connection watches too much already"});
    }
    if (begun_) {
      begun_ = false;
      watches_ = true;
      session_.host().shares().End(session_.holdings());
    }
    return;
  }
  if (head_.method() == GrpcMethod::kAskEach && reply.status == 0) {
    Count(GrpcCode::kOk);
    return Resume();
  }
  End({GrpcCodeOf(reply.status), std::move(reply.message)}, reply.headers);
}

}  // namespace falaj::wire

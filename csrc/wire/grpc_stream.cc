// A call's coming and going; what it asks for is in grpc_calls.cc.
#include "wire/grpc_stream.h"

#include <array>
#include <utility>

#include "wire/grpc_session.h"

namespace falaj::wire {
namespace {

// Of one stream's answers that the client has not taken, above which no more of its requests are.
constexpr size_t kMostUnsent = size_t{4} << 20;
constexpr size_t kKeepInFlight = 256;
constexpr size_t kKeepInflated = size_t{1} << 20;

constexpr Http2Field kStatusOk{":status", "200", true};
constexpr Http2Field kContentType{"content-type", "application/grpc", true};
constexpr Http2Field kGzip{"grpc-encoding", "gzip", true};
constexpr Http2Field kAcceptEncoding{"grpc-accept-encoding", kGrpcEncodings, true};
constexpr Http2Field kGrpcOk{"grpc-status", "0", true};

constexpr std::array<std::string_view, 17> kCodes{"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                                  "9", "10", "11", "12", "13", "14", "15", "16"};

// Whether the control plane may send it: the rest of a reply's fields are ours.
bool MayTrail(std::string_view name) {
  return !name.empty() && name[0] != ':' && !name.starts_with("grpc-") && name != "content-type";
}

}  // namespace

GrpcStream::GrpcStream(GrpcSession& session)
    : session_(session),
      reader_(session.limits().max_message_bytes, &session.input_budget()),
      replies_(&session.reply_budget()) {}

const Peer& GrpcStream::peer() const { return session_.peer(); }

void GrpcStream::Open(int32_t id) {
  id_ = id;
  head_.Clear();
  accepted_ = input_ended_ = responded_ = waits_for_replies_ = ended_ = withdrawn_ = compressed_ = false;
  messages_ = 0;
  opened_ = session_.host().Now();
  deadline_ = TimePoint::max();
  outcome_ = {};
  bytes_in_ = bytes_out_ = 0;
  progressed_ = false;
  stalled_since_.reset();
  measured_since_.reset();
}

bool GrpcStream::OnField(std::string_view name, std::string_view value) {
  if (ended_) return true;
  switch (head_.Add(name, value, session_.limits().max_metadata_bytes)) {
    case GrpcHead::Added::kFine:
      break;
    case GrpcHead::Added::kMalformed:
      OnMalformed();
      break;
    case GrpcHead::Added::kFarTooLarge:
      session_.counters().Refuse(Refusal::kHeaderSize);
      return false;
  }
  return true;
}

void GrpcStream::OnHead() {
  if (ended_) return;
  if (!head_.rules().EndHead()) return OnMalformed();
  logged_ = session_.ChooseForLog();
  if (const auto fault = head_.Check(session_.limits().max_metadata_bytes)) return Refuse(*fault);
  Accept();
}

void GrpcStream::OnKnownHead(const GrpcHead& head) {
  head_ = head;
  logged_ = session_.ChooseForLog();
  Accept();
}

void GrpcStream::Accept() {
  accepted_ = true;
  if (head_.timeout()) deadline_ = opened_ + *head_.timeout();
}

// gRPC has none in this direction.
void GrpcStream::OnTrailer(std::string_view name, std::string_view value) {
  if (!Http2FieldRules::AddTrailer(name, value)) OnMalformed();
}

void GrpcStream::OnMalformed() {
  if (ended_) return;
  session_.counters().Refuse(Refusal::kMalformed);
  Withdraw();
  session_.http2().Reset(id_, Http2Error::kProtocol);
  session_.WantOutput();
}

void GrpcStream::Refuse(const GrpcHead::Fault& fault) {
  const bool large = fault.failure.code == GrpcCode::kResourceExhausted;
  session_.counters().Refuse(large ? Refusal::kHeaderSize : Refusal::kMalformed);
  if (fault.http_status == 200) return End(fault.failure);
  ended_ = true;
  outcome_ = fault.failure;
  session_.counters().client_errors.Add(1);
  const std::string status = std::to_string(fault.http_status);
  responded_ = true;
  session_.http2().RespondOnly(id_, std::array{Http2Field{":status", status}});
  session_.WantOutput();
}

bool GrpcStream::paused() const {
  switch (head_.method()) {
    case GrpcMethod::kInfer:
    case GrpcMethod::kAsk:
      return false;
    case GrpcMethod::kStreamInfer:
      if (in_flight_.size() >= session_.limits().max_requests_per_stream) return true;
      break;
    case GrpcMethod::kAskEach:
      if (asked_ != 0) return true;
      break;
  }
  return replies_.bytes() > kMostUnsent;
}

void GrpcStream::OnData(std::span<const std::byte> bytes) {
  bytes_in_ += bytes.size();
  if (!head_.rules().AddBody(bytes.size())) OnMalformed();
  size_t left = bytes.size();
  if (ended_) {
    left = 0;  // what still comes is dropped
  } else if (backlog_.empty()) {
    left = Take(bytes);
  }
  session_.http2().ConsumeStream(id_, bytes.size() - left);
  if (left > 0) Hold(bytes.last(left));
}

// Returns how many bytes at the end have to wait.
size_t GrpcStream::Take(std::span<const std::byte> bytes) {
  taking_ = true;
  if (reader_.at_boundary()) message_began_ = unary() ? opened_ : session_.host().Now();
  GrpcMessage message;
  while (!ended_ && !paused()) {
    const auto step = reader_.Next(bytes, message);
    if (step == GrpcMessageReader::Step::kMore) break;
    if (step == GrpcMessageReader::Step::kMessage) {
      OnMessage(message);
      continue;
    }
    const GrpcCode code = reader_.failure().code;
    session_.counters().Refuse(code == GrpcCode::kResourceExhausted ? Refusal::kBodySize
                               : code == GrpcCode::kUnavailable     ? Refusal::kBuffered
                                                                    : Refusal::kMalformed);
    End(reader_.failure());
  }
  taking_ = false;
  return ended_ ? 0 : bytes.size();
}

void GrpcStream::Hold(std::span<const std::byte> bytes) {
  if (session_.input_budget().Take(bytes.size())) {
    if (backlog_.Append({reinterpret_cast<const char*>(bytes.data()), bytes.size()})) return;
    session_.input_budget().Give(bytes.size());
  }
  session_.counters().Refuse(Refusal::kBuffered);
  End({GrpcCode::kUnavailable, "the server has buffered as much as it may; try again later"});
}

void GrpcStream::Resume() {
  if (taking_ || ended_) return;
  if (holding_ > 0) AnswerHeld();
  if (ended_) return;
  if (!backlog_.empty() && !paused()) {
    const auto waiting = std::as_bytes(std::span(backlog_.view()));
    const size_t taken = waiting.size() - Take(waiting);
    if (ended_) return;
    backlog_.Consume(taken);
    session_.input_budget().Give(taken);
    session_.http2().ConsumeStream(id_, taken);
  }
  FinishIfDone();
}

void GrpcStream::DropBacklog() {
  if (backlog_.capacity() == 0) return;
  session_.input_budget().Give(backlog_.size());
  backlog_.Free();
}

void GrpcStream::OnMessage(const GrpcMessage& message) {
  session_.counters().requests.Add(1);
  measured_since_.reset();
  if (++messages_ > 1 && unary()) {
    return End({GrpcCode::kUnimplemented, head_.path() + " takes one message, got more"});
  }
  session_.counters().read.Add(NanosBetween(message_began_, session_.host().Now()));
  std::span<const std::byte> bytes = message.bytes;
  if (message.compressed && !Inflate(bytes)) return;
  if (head_.method() == GrpcMethod::kInfer || head_.method() == GrpcMethod::kStreamInfer) {
    Infer(bytes);
  } else {
    Ask(bytes);
  }
  if (session_.codec().inflated.capacity() > kKeepInflated) session_.codec().inflated = {};
}

bool GrpcStream::Inflate(std::span<const std::byte>& bytes) {
  compressed_ = true;
  if (head_.encoding() == Encoding::kIdentity) {
    End({GrpcCode::kInternal, "a message is marked as compressed, and no grpc-encoding says how"});
    return false;
  }
  GrpcCodec& codec = session_.codec();
  const size_t most = session_.limits().max_message_bytes;
  switch (codec.decompressor.Decompress(head_.encoding(), bytes, most, codec.inflated)) {
    case Inflated::kDone:
      bytes = std::as_bytes(std::span(codec.inflated));
      return true;
    case Inflated::kTooLarge:
      session_.counters().Refuse(Refusal::kBodySize);
      End({GrpcCode::kResourceExhausted,
           "a message is larger than the bound of " + std::to_string(most) + " bytes when decompressed"});
      return false;
    case Inflated::kMalformed:
      break;
  }
  End({GrpcCode::kInvalidArgument, "a message is not valid in its grpc-encoding"});
  return false;
}

void GrpcStream::OnInputEnded() {
  input_ended_ = true;
  if (!head_.rules().EndBody()) OnMalformed();
  FinishIfDone();
}

void GrpcStream::FinishIfDone() {
  if (ended_ || !input_ended_ || !backlog_.empty() || !in_flight_.empty() || asked_ != 0) return;
  if (!reader_.at_boundary()) {
    session_.counters().Refuse(Refusal::kMalformed);
    End({GrpcCode::kInvalidArgument, "the call's input ended within a message"});
  } else if (unary()) {
    End({GrpcCode::kUnimplemented, head_.path() + " takes one message, got none"});
  } else {
    End({GrpcCode::kOk, ""});
  }
}

void GrpcStream::End(GrpcFailure outcome, const Fields& trailers) {
  if (ended_) return;
  ended_ = true;
  outcome_ = std::move(outcome);
  // Of a call with many messages each was counted when it was answered, a failure of the whole is one more.
  if (unary() || outcome_.code != GrpcCode::kOk) Count(outcome_.code);
  WithdrawWork();
  if (!responded_ && replies_.empty()) {
    responded_ = true;
    SubmitTrailers(trailers, /*only=*/true);
    session_.WantOutput();
    return;
  }
  trailers_ = trailers;
  Flush();
}

void GrpcStream::SubmitTrailers(const Fields& trailers, bool only) {
  if (!only && outcome_.code == GrpcCode::kOk && trailers.empty()) {
    return session_.http2().Trail(id_, std::array{kGrpcOk});
  }
  std::vector<Http2Field> fields;
  if (only) fields = {kStatusOk, kContentType};
  fields.push_back({"grpc-status", kCodes[static_cast<size_t>(outcome_.code)], true});
  std::string message;
  std::string details;
  if (outcome_.code != GrpcCode::kOk) {
    EncodeGrpcMessage(outcome_.message, message);
    EncodeStatusDetails(outcome_, details);
    fields.push_back({"grpc-message", message});
    fields.push_back({"grpc-status-details-bin", details});
    if (outcome_.code == GrpcCode::kUnimplemented) fields.push_back(kAcceptEncoding);
  }
  for (const auto& [name, value] : trailers) {
    if (MayTrail(name)) fields.push_back({name, value});
  }
  only ? session_.http2().RespondOnly(id_, fields) : session_.http2().Trail(id_, fields);
}

// Has the replies, and the end where it has come, sent.
void GrpcStream::Flush() {
  if (!responded_) {
    responded_ = true;
    const bool gzip = head_.accepts_gzip() && head_.encoding() == Encoding::kGzip;
    const std::array fields{kStatusOk, kContentType, kGzip};
    session_.http2().Respond(id_, std::span(fields).first(gzip ? 3 : 2), this);
  } else if (std::exchange(waits_for_replies_, false)) {
    session_.http2().Resume(id_);
  }
  if (replies_.bytes() > GrpcReplies::kLarge) session_.http2().ShareTurns(id_);
  session_.WantOutput();
}

GrpcStream::Next GrpcStream::NextReplies(size_t& bytes) {
  bytes = std::min(bytes, replies_.bytes());
  if (bytes == 0 && (!ended_ || withdrawn_)) {
    waits_for_replies_ = true;
    return Next::kNothing;
  }
  if (!ended_ || bytes < replies_.bytes()) return Next::kBytes;
  SubmitTrailers(trailers_, /*only=*/false);
  return Next::kLast;
}

void GrpcStream::WriteReplies(size_t bytes, Http2Output& output) {
  replies_.Write(bytes, output);
  bytes_out_ += bytes;
  progressed_ = true;
  if (asked_ != 0) session_.host().Sent(asked_, bytes);
  if (!backlog_.empty() || holding_ > 0) session_.ResumeLater();
}

void GrpcStream::Tick(TimePoint now) {
  // What a model has to answer, the batcher ends at its deadline, and Delivered answers it.
  const bool has_timer = head_.method() == GrpcMethod::kInfer && !in_flight_.empty();
  if (!ended_ && now >= deadline_ && !has_timer) {
    End({GrpcCode::kDeadlineExceeded, "the deadline passed before the call was answered"});
  }
  CheckInput(now);
  CheckProgress(now);
}

// A client that does not go on with what it has begun holds the memory of it: not for ever. What waits for
// ourselves does not count against it.
void GrpcStream::CheckInput(TimePoint now) {
  const bool awaits_head = !accepted_ && !ended_;
  const bool awaits_message = accepted_ && !ended_ && !reader_.at_boundary() && backlog_.empty() && !paused();
  if (!awaits_head && !awaits_message) return measured_since_.reset();
  const Nanos since = measured_since_ ? now - *measured_since_ : Nanos{0};
  if (measured_since_ && since < session_.limits().message_timeout) return;
  const double least = static_cast<double>(session_.limits().min_message_bytes_per_second) *
                       std::chrono::duration<double>(since).count();
  if (!measured_since_ || (awaits_message && static_cast<double>(bytes_in_ - measured_from_) >= least)) {
    measured_since_ = now;
    measured_from_ = bytes_in_;
  } else if (awaits_message) {
    session_.counters().Refuse(Refusal::kBodyTimeout);
    End({GrpcCode::kDeadlineExceeded, "the call's message came too slowly"});
  } else {
    session_.counters().Refuse(Refusal::kHeaderTimeout);
    Withdraw();
    session_.http2().Reset(id_, Http2Error::kCancel);
    session_.WantOutput();
  }
}

// A client that opens no window for the answers it asked for holds their memory: not for ever.
void GrpcStream::CheckProgress(TimePoint now) {
  if (std::exchange(progressed_, false) || replies_.empty()) {
    stalled_since_.reset();
  } else if (!stalled_since_) {
    stalled_since_ = now;
  } else if (now - *stalled_since_ >= session_.limits().write_timeout) {
    session_.counters().Refuse(Refusal::kWriteTimeout);
    stalled_since_ = now;  // the stream closes when the reset has been gathered
    Withdraw();
    session_.http2().Reset(id_, Http2Error::kCancel);
    session_.WantOutput();
  }
}

// Its client has gone, or is sent away.
void GrpcStream::Withdraw() {
  if (ended_) return;
  const bool waited = unary() ? messages_ > 0 : !in_flight_.empty() || asked_ != 0;
  if (waited) session_.counters().cancelled.Add(unary() || asked_ != 0 ? 1 : in_flight_.size());
  ended_ = true;
  withdrawn_ = true;
  outcome_.code = GrpcCode::kCancelled;
  WithdrawWork();
}

void GrpcStream::WithdrawWork() {
  for (GrpcInfer* const infer : in_flight_) {
    session_.host().shares().End(session_.holdings());
    infer->trace.End(session_.host().tracer(), static_cast<int>(GrpcCode::kCancelled),
                     std::chrono::steady_clock::now());
    infer->Abandon();  // it does not come back to us
  }
  in_flight_.clear();
  holding_ = 0;
  if (asked_ != 0) session_.host().Forget(std::exchange(asked_, 0));
  EndRequest();
  DropBacklog();
}

void GrpcStream::OnClosed() {
  Withdraw();
  Log();
  reader_.Clear();
  replies_.Clear();
  trailers_.clear();
  if (in_flight_.capacity() > kKeepInFlight) in_flight_.shrink_to_fit();
  id_ = 0;
}

void GrpcStream::Count(GrpcCode code) {
  WireCounters& counters = session_.counters();
  switch (HttpClassOf(code)) {
    case HttpClass::kOk:
      return counters.ok.Add(1);
    case HttpClass::kClientError:
      return counters.client_errors.Add(1);
    case HttpClass::kServerError:
      return counters.server_errors.Add(1);
  }
}

void GrpcStream::Log() {
  if (!std::exchange(logged_, false)) return;
  AccessRecord record;
  record.listener = Listener::kGrpc;
  record.method = "POST";
  record.target = head_.path();
  record.request_id = head_.request_id();
  record.peer_address = session_.peer().address;
  record.status = static_cast<int>(outcome_.code);
  record.bytes_in = bytes_in_;
  record.bytes_out = bytes_out_;
  record.duration_us = NanosBetween(opened_, session_.host().Now()) / 1000;
  session_.host().Log(std::move(record));
}

}  // namespace falaj::wire

#include "wire/grpc_session.h"

#include <utility>

namespace falaj::wire {
namespace {

constexpr size_t kRoomBytes = 64 * 1024;
constexpr size_t kGatherBytes = 256 * 1024;
// While the socket takes nothing, input is read until so much waits to be written.
constexpr size_t kMostUnwritten = size_t{4} << 20;
constexpr size_t kMostQueuedFrames = 4096;
// Calls on one connection whose answers go on (Health/Watch): one is what a client needs.
constexpr int kMostWatches = 16;
// In which a client is taken to have heard of the end, where it does not say so: some do not answer when they
// have no calls under way, and some never do.
constexpr Nanos kMostToLearn = std::chrono::seconds(5);

}  // namespace

GrpcSession::GrpcSession(Host& host, Carrier& carrier, Peer peer, std::shared_ptr<ClientHoldings> holdings,
                         GrpcCodec& codec)
    : host_(host),
      carrier_(carrier),
      peer_(std::move(peer)),
      holdings_(std::move(holdings)),
      codec_(codec),
      limits_(host.options().grpc),
      counters_(host.counters(Wire::kGrpc)),
      input_budget_(&host.shares()),
      reply_budget_(&host.shares()),
      guard_(limits_, host.Now()),
      http2_(this, limits_, codec.blocks) {}

GrpcSession::~GrpcSession() {
  state_ = State::kClosed;
  for (const auto& stream : streams_) {
    if (stream->open()) stream->OnClosed();
  }
}

std::span<std::byte> GrpcSession::InputRoom() {
  if (!codec_.room.Reserve(kRoomBytes).ok()) return {};
  return {codec_.room.data(), kRoomBytes};
}

void GrpcSession::Received(size_t bytes) {
  counters_.bytes_in.Add(bytes);
  if (leaving()) return;
  guard_.OnReceived(host_.Now());
  inside_ = true;
  const auto received = http2_.Receive({codec_.room.data(), bytes});
  inside_ = false;
  if (received == Http2Session::Received::kFine || leaving()) return;
  // Not HTTP/2, or beyond nghttp2's patience: there is nothing to say to such a peer.
  Close(received == Http2Session::Received::kFlood ? Refusal::kFlood : Refusal::kMalformed);
}

bool GrpcSession::WantsInput() const {
  if (leaving() || input_ended_ || !http2_.WantsRead()) return false;
  if (output_.empty()) return true;
  return output_.size() + reply_budget_.used() <= kMostUnwritten &&
         http2_.queued_frames() <= kMostQueuedFrames;
}

// A client that closes its side of HTTP/2 has gone: answers that are ready are sent, the rest is withdrawn.
void GrpcSession::InputEnded() {
  input_ended_ = true;
  WithdrawAll();
  WantOutput();
}

size_t GrpcSession::Output(std::span<iovec> pieces) {
  output_awaited_ = false;
  if (state_ == State::kClosed) return 0;
  if (output_.empty()) {
    inside_ = true;
    const bool fine = http2_.Gather(output_, kGatherBytes);
    if (std::exchange(resume_later_, false)) ResumeStreams();
    inside_ = false;
    if (!fine) {
      Close(Refusal::kMalformed);
      return 0;
    }
    if (!output_.empty()) unwritten_since_ = host_.Now();
  }
  return output_.Pieces(pieces);
}

void GrpcSession::Wrote(size_t bytes) {
  if (bytes == 0 || state_ == State::kClosed) return;
  counters_.bytes_out.Add(bytes);
  output_.Took(bytes);
  if (output_.empty()) {
    unwritten_since_.reset();
  } else {
    unwritten_since_ = host_.Now();
  }
}

bool GrpcSession::Finished() const {
  if (state_ == State::kClosed) return true;
  if (!output_.empty() || http2_.WantsWrite()) return false;
  return leaving() || input_ended_ || !http2_.WantsRead();
}

void GrpcSession::Tick() {
  if (state_ == State::kClosed) return;
  const TimePoint now = host_.Now();
  const bool wanted_input = WantsInput();
  inside_ = true;  // what it makes is asked for after it
  for (size_t i = 0; i < streams_.size(); ++i) {
    if (streams_[i]->open()) streams_[i]->Tick(now);
  }
  if (draining_ == Draining::kHeard) {
    draining_ = Draining::kConfirm;
    http2_.PingForEnd();
  }
  if (draining_ != Draining::kNo && now - announced_at_ >= kMostToLearn) EndDrain();
  switch (guard_.Tick(now, free_streams_.size() < streams_.size(), unwritten_since_)) {
    case Http2Guard::Verdict::kFine:
      break;
    case Http2Guard::Verdict::kPing:
      http2_.Ping();
      guard_.OnPinged(now);
      break;
    case Http2Guard::Verdict::kIdle:
      if (draining_ == Draining::kNo) counters_.Refuse(guard_.why());
      Drain();
      break;
    case Http2Guard::Verdict::kClose:
      Close(guard_.why());
      break;
  }
  inside_ = false;
  if (!wanted_input && WantsInput()) carrier_.InputWanted();
}

// In two steps, as RFC 9113 (6.8) advises: requests that are on their way to us when the client learns of it
// are still answered. The client has sent them all when it answers a second ping, a tick later: gRPC's C core
// puts its answer to the first before calls that it has begun but not yet written.
void GrpcSession::Drain() {
  if (draining_ != Draining::kNo || leaving()) return;
  draining_ = Draining::kAnnounced;
  announced_at_ = host_.Now();
  http2_.AnnounceShutdown();
  WantOutput();
}

void GrpcSession::OnAnnouncementAnswered() {
  if (draining_ == Draining::kAnnounced) draining_ = Draining::kHeard;
  if (draining_ == Draining::kConfirm) EndDrain();
}

void GrpcSession::EndDrain() {
  if (draining_ == Draining::kYes || leaving()) return;
  draining_ = Draining::kYes;
  http2_.GoAway(Http2Error::kNone, "");
}

void GrpcSession::WantOutput() {
  if (inside_ || output_awaited_) return;
  output_awaited_ = true;
  carrier_.OutputReady();
}

bool GrpcSession::ChooseForLog() {
  sample_ += host_.options().access_log_per_million;
  if (sample_ < 1'000'000) return false;
  sample_ -= 1'000'000;
  return true;
}

bool GrpcSession::AddWatch() {
  if (watches_ >= kMostWatches) return false;
  ++watches_;
  return true;
}

GrpcStream* GrpcSession::OpenStream(int32_t id) {
  if (free_streams_.empty()) {
    streams_.push_back(std::make_unique<GrpcStream>(*this));
    free_streams_.push_back(streams_.back().get());
  }
  GrpcStream* const stream = free_streams_.back();
  free_streams_.pop_back();
  stream->Open(id);
  return stream;
}

void GrpcSession::CloseStream(GrpcStream* stream) {
  stream->OnClosed();
  guard_.OnStreamClosed(host_.Now());
  free_streams_.push_back(stream);
}

void GrpcSession::OnControlFrame() {
  if (guard_.OnControlFrame(host_.Now())) return;
  SendAway(Http2Error::kEnhanceYourCalm, "too many control frames", Refusal::kFlood);
}

void GrpcSession::OnReset() {
  if (guard_.OnReset(host_.Now())) return;
  SendAway(Http2Error::kEnhanceYourCalm, "too many resets", Refusal::kFlood);
}

void GrpcSession::OnPing() {
  if (guard_.OnPing(host_.Now())) return;
  SendAway(Http2Error::kEnhanceYourCalm, "too_many_pings", Refusal::kFlood);
}

void GrpcSession::SendAway(Http2Error error, std::string_view text, Refusal why) {
  if (leaving()) return;
  state_ = State::kSentAway;
  counters_.Refuse(why);
  WithdrawAll();
  http2_.GoAway(error, text);
}

void GrpcSession::Close(Refusal why) {
  if (state_ == State::kOpen) counters_.Refuse(why);
  state_ = State::kClosed;
  WithdrawAll();
}

void GrpcSession::WithdrawAll() {
  for (const auto& stream : streams_) {
    if (stream->open()) stream->Withdraw();
  }
}

void GrpcSession::ResumeStreams() {
  for (size_t i = 0; i < streams_.size(); ++i) {
    if (streams_[i]->open()) streams_[i]->Resume();
  }
}

}  // namespace falaj::wire

// One gRPC call: an HTTP/2 stream from its header fields to its trailers.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/control.h"
#include "wire/grpc_framing.h"
#include "wire/grpc_head.h"
#include "wire/grpc_infer.h"
#include "wire/grpc_replies.h"

namespace falaj::wire {

class GrpcSession;

// Reused from call to call; owned by its session, which calls it as HTTP/2 brings things.
// 1. A call ends once: by End, which says with what status, or by Withdraw, when its client has gone.
// 2. When it ends or closes, what it had under way is withdrawn.
// 3. Bytes go back to the client's window when they have become messages; while the call is paused they do
//    not, so what waits is bounded by that window.
class GrpcStream final : private ControlWaiter {
 public:
  explicit GrpcStream(GrpcSession& session);

  void Open(int32_t id);
  bool open() const { return id_ != 0; }
  int32_t id() const { return id_; }

  // --- From the client. False: so much that the stream is to be reset.
  bool OnField(std::string_view name, std::string_view value);
  void OnHead();
  // In place of its fields and OnHead: the head is a copy of an accepted one.
  void OnKnownHead(const GrpcHead& head);
  void OnTrailer(std::string_view name, std::string_view value);
  // It breaks the rules of requests: RFC 9113, 8.1.1.
  void OnMalformed();
  void OnData(std::span<const std::byte> bytes);
  void OnInputEnded();
  bool input_ended() const { return input_ended_; }
  void OnClosed();
  // It was accepted, and is answered natively.
  bool infers() const {
    return accepted_ && (head_.method() == GrpcMethod::kInfer || head_.method() == GrpcMethod::kStreamInfer);
  }
  const GrpcHead& head() const { return head_; }
  const Peer& peer() const;

  // --- To the client.
  enum class Next {
    kNothing,  // Session::Resume follows when there is
    kBytes,
    kLast,  // the trailers have been submitted
  };
  // What the next frame of at most `bytes` bytes is to be; sets its size.
  Next NextReplies(size_t& bytes);
  void WriteReplies(size_t bytes, Http2Output& output);

  // --- From the session.
  void Tick(TimePoint now);
  // Takes what has waited, if it may now.
  void Resume();
  void Withdraw();

  void OnDelivered(GrpcInfer& infer, RefPtr<Request> request);  // from `infer`

 private:
  // grpc_stream.cc
  bool unary() const { return head_.method() == GrpcMethod::kInfer || head_.method() == GrpcMethod::kAsk; }
  bool paused() const;
  void Accept();
  void Refuse(const GrpcHead::Fault& fault);
  size_t Take(std::span<const std::byte> bytes);
  void Hold(std::span<const std::byte> bytes);
  void DropBacklog();
  void OnMessage(const GrpcMessage& message);
  bool Inflate(std::span<const std::byte>& bytes);
  void FinishIfDone();
  void End(GrpcFailure outcome, const Fields& trailers = {});
  void SubmitTrailers(const Fields& trailers, bool only);
  void Flush();
  void WithdrawWork();
  void Count(GrpcCode code);
  void Log();
  void CheckInput(TimePoint now);
  void CheckProgress(TimePoint now);

  // grpc_calls.cc
  bool Begin();
  void EndRequest();
  void Infer(std::span<const std::byte> message);
  void FailInfer(GrpcFailure failure, std::string_view id);
  void EndFailedTrace(GrpcInfer& infer, const Status& status);
  std::optional<GrpcFailure> Encode(const InferReply& reply);
  bool Deflates(size_t bytes) const;
  void AnswerHeld();
  bool Answer(GrpcInfer& delivered, RefPtr<Request> request);
  void AnswerPart(GrpcInfer& infer, RefPtr<Request> part);
  void Forget(const GrpcInfer& infer);
  bool Send(bool compressed, std::string_view message);
  bool SendDeflated(std::string_view message);
  void Ask(std::span<const std::byte> message);
  void OnReply(ControlReply reply) override;

  GrpcSession& session_;
  int32_t id_ = 0;  // 0: none
  GrpcHead head_;
  bool accepted_ = false;     // its head was read and is good
  bool input_ended_ = false;  // the client sent the last it will
  bool responded_ = false;    // header fields went out, or are about to
  bool waits_for_replies_ = false;
  bool ended_ = false;
  bool withdrawn_ = false;
  bool taking_ = false;
  bool compressed_ = false;  // some message was
  size_t messages_ = 0;
  TimePoint opened_{};
  TimePoint message_began_{};
  TimePoint deadline_ = TimePoint::max();
  GrpcMessageReader reader_;
  ByteBuffer backlog_;  // what may not be looked at yet
  GrpcReplies replies_;
  std::vector<GrpcInfer*> in_flight_;  // theirs is the ownership, see GrpcInfer
  size_t holding_ = 0;                 // of them, those that hold something
  uint64_t asked_ = 0;                 // the control plane's id of what it is being asked; 0: nothing
  bool begun_ = false;                 // what is asked counts as a request under way
  bool watches_ = false;               // its answer goes on, and counts as a watch of the session
  GrpcFailure outcome_;
  Fields trailers_;

  bool logged_ = false;
  uint64_t bytes_in_ = 0;
  uint64_t bytes_out_ = 0;
  // While a message, or the head, has begun and is not whole: since when its pace is measured, and what of
  // bytes_in_ had come by then.
  std::optional<TimePoint> measured_since_;
  uint64_t measured_from_ = 0;
  bool progressed_ = false;  // bytes were taken since the last tick
  std::optional<TimePoint> stalled_since_;
};

}  // namespace falaj::wire

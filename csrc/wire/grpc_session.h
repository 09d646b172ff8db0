// gRPC on one connection: HTTP/2, its bounds, and the calls on it.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "wire/buffer_budget.h"
#include "wire/grpc_infer.h"
#include "wire/grpc_stream.h"
#include "wire/host.h"
#include "wire/http2_guard.h"
#include "wire/http2_output.h"
#include "wire/http2_session.h"
#include "wire/protocol.h"

namespace falaj::wire {

// See Protocol for who calls it. Destroying it withdraws what is under way.
// 1. Output is gathered only when the last was written, so what waits in front of a slow socket is one
//    gathering, and what HTTP/2 has queued. Input is not read while that is much (WantsInput).
// 2. Answers that wait for the client's window do not stop input, which may be what opens the window; each
//    stream bounds its own (GrpcStream), and ClientShares all.
class GrpcSession final : public Protocol {
 public:
  // `codec` belongs to the I/O thread and outlives the session and its requests.
  GrpcSession(Host& host, Carrier& carrier, Peer peer, std::shared_ptr<ClientHoldings> holdings,
              GrpcCodec& codec);
  ~GrpcSession() override;

  // The room is the I/O thread's: it holds until another of the thread's sessions is called.
  std::span<std::byte> InputRoom() override;
  void Received(size_t bytes) override;
  bool WantsInput() const override;
  void InputEnded() override;
  size_t Output(std::span<iovec> pieces) override;
  void Wrote(size_t bytes) override;
  bool Finished() const override;
  void Tick() override;
  void EndAnnounced() override { Drain(); }
  void Drain() override;

  // --- For its streams.
  Host& host() const { return host_; }
  GrpcCodec& codec() const { return codec_; }
  const GrpcLimits& limits() const { return limits_; }
  WireCounters& counters() const { return counters_; }
  const Peer& peer() const { return peer_; }
  ClientHoldings& holdings() const { return *holdings_; }
  Http2Session& http2() { return http2_; }
  BufferBudget& input_budget() { return input_budget_; }
  BufferBudget& reply_budget() { return reply_budget_; }
  // There is something to gather.
  void WantOutput();
  // Some stream may take what has waited, once the present gathering is done.
  void ResumeLater() { resume_later_ = true; }
  bool ChooseForLog();
  bool AddWatch();
  void DropWatch() { --watches_; }

  // --- For HTTP/2 (http2_callbacks.cc).
  bool leaving() const { return state_ != State::kOpen; }
  GrpcStream* OpenStream(int32_t id);
  void CloseStream(GrpcStream* stream);
  void OnSettings() { guard_.OnSettings(); }
  void OnControlFrame();
  void OnPing();
  void OnAnnouncementAnswered();
  void OnReset();
  void OnAnswerSent() { guard_.OnAnswerSent(); }
  void OnProtocolFault() { counters_.Refuse(Refusal::kMalformed); }

 private:
  enum class State : uint8_t {
    kOpen,
    kSentAway,  // its last frames are being written
    kClosed,    // nothing is written any more
  };
  enum class Draining : uint8_t {
    kNo,
    kAnnounced,
    kHeard,    // by the client, but what it began before may be behind its answer
    kConfirm,  // asked, some time later, to answer once more
    kYes,
  };

  void SendAway(Http2Error error, std::string_view text, Refusal why);
  void Close(Refusal why);
  void WithdrawAll();
  void ResumeStreams();
  void EndDrain();

  Host& host_;
  Carrier& carrier_;
  const Peer peer_;
  const std::shared_ptr<ClientHoldings> holdings_;
  GrpcCodec& codec_;
  const GrpcLimits& limits_;
  WireCounters& counters_;

  State state_ = State::kOpen;
  Draining draining_ = Draining::kNo;
  TimePoint announced_at_{};
  bool input_ended_ = false;
  bool inside_ = false;          // of a call that is followed by Output anyway
  bool output_awaited_ = false;  // the carrier was told
  bool resume_later_ = false;
  int watches_ = 0;
  uint32_t sample_ = 0;  // state of the access log's sampling
  std::optional<TimePoint> unwritten_since_;

  BufferBudget input_budget_;
  BufferBudget reply_budget_;
  Http2Guard guard_;
  Http2Output output_;
  std::vector<std::unique_ptr<GrpcStream>> streams_;  // all that were ever open at a time
  std::vector<GrpcStream*> free_streams_;
  Http2Session http2_;  // refers to all above
};

}  // namespace falaj::wire

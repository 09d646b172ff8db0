// HTTP/1.1 on one connection: infer requests are answered here, all others by the control plane.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "wire/byte_buffer.h"
#include "wire/host.h"
#include "wire/http_infer.h"
#include "wire/http_parser.h"
#include "wire/protocol.h"
#include "wire/request_trace.h"

namespace falaj::wire {

class HttpExchange;

// One request at a time: what a client pipelines waits, up to a bound, until its turn. A client that closes
// its side while its request is under way withdraws it. Memory while idle: none but this object. See Protocol
// for who calls it.
class HttpSession final : public Protocol, private ControlWaiter {
 public:
  // `codec` belongs to the I/O thread. `listener` kAdmin answers no infer requests itself.
  HttpSession(Host& host, Carrier& carrier, Peer peer, std::shared_ptr<ClientHoldings> holdings,
              HttpCodec& codec, Listener listener);
  ~HttpSession() override;

  std::span<std::byte> InputRoom() override;
  void Received(size_t bytes) override;
  bool WantsInput() const override;
  void InputEnded() override;
  size_t Output(std::span<iovec> pieces) override;
  void Wrote(size_t bytes) override;
  bool Finished() const override { return state_ == State::kClosed; }
  void Tick() override;
  void Drain() override;

 private:
  enum class State : uint8_t {
    kHead,      // waiting for a request, or for the rest of its head
    kBody,      // its head was read
    kAsked,     // it is under way
    kAnswered,  // its answer is being written
    kClosed,
  };
  friend class HttpExchange;

  // http_session.cc
  void ReadRequests();
  bool ReadHead();
  void StartBody();
  void ReadChunks();
  bool BodyIsSlow(TimePoint now) const;
  void Dispatch(std::string_view body);
  void DispatchInfer(std::string_view body);
  void BeginTrace();
  void DispatchControl(std::string_view body);
  void DropRequestBytes();
  void FreeMemory();

  // http_answer.cc
  bool Begin();
  void End();
  bool Account(size_t bytes);
  void Withdraw();
  void OnDelivered(RefPtr<Request> request);
  void OnReply(ControlReply reply) override;
  void Refuse(int status, std::string_view message, Refusal why);
  void Answer(int status, std::string_view message);
  void WriteAnswer();
  void StartHead(int status);
  void EndHead();
  void StartControlAnswer(const ControlReply& reply);
  void FinishAnswer();
  void CountAnswer(int status, uint64_t bytes_out);
  void ChooseForLog();
  void Log(int status, uint64_t bytes_out);

  Host& host_;
  Carrier& carrier_;
  const Peer peer_;
  const std::shared_ptr<ClientHoldings> holdings_;
  HttpCodec& codec_;
  const Listener listener_;
  const HttpLimits& limits_;
  WireCounters& counters_;

  State state_ = State::kHead;
  HttpParser parser_;
  ByteBuffer in_;          // from the head of the current request on
  size_t head_bytes_ = 0;  // of in_; the request's own, until it was dispatched
  ByteBuffer body_;        // of known length, where it did not come with the head
  uint64_t body_left_ = 0;
  std::string chunked_body_;
  ByteBuffer chunks_;           // chunked, not yet decoded
  bool body_in_place_ = false;  // the body lies behind the head in in_

  std::string head_out_, body_out_;
  size_t written_ = 0;  // of head_out_ and body_out_ together
  HttpAnswer answer_;
  bool close_after_ = false;  // the connection ends with this answer
  bool is_head_ = false;      // the request's method: no body is sent
  bool chunked_answer_ = false;
  bool answer_complete_ = false;

  std::unique_ptr<HttpExchange> exchange_;  // reused; given up to itself where its client leaves first
  bool infer_under_way_ = false;
  uint64_t asked_ = 0;     // the control plane's id of the request that is under way; 0: none
  bool begun_ = false;     // counted in holdings_
  int64_t accounted_ = 0;  // bytes counted in ClientShares

  std::optional<InferTarget> target_;
  bool logged_ = false;  // this request is one of the access log's sample
  AccessRecord record_;  // of it
  RequestTrace trace_;
  uint64_t bytes_in_ = 0;      // of this request
  TimePoint request_began_{};  // its first byte
  TimePoint body_began_{};
  TimePoint request_read_{};  // its last byte
  TimePoint decoded_{};
  TimePoint last_input_{}, last_output_{};
};

}  // namespace falaj::wire

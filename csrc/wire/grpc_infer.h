// One infer request by gRPC between its message and its delivery, and what an I/O thread reads all of them
// with.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/block_pool.h"
#include "wire/compression.h"
#include "wire/grpc_decoder.h"
#include "wire/host.h"
#include "wire/infer_call.h"
#include "wire/request_trace.h"

namespace falaj::wire {

class GrpcInfer;
class GrpcStream;

// What the gRPC sessions of one I/O thread use in turn. Outlives its sessions and their requests.
struct GrpcCodec {
  explicit GrpcCodec(const CodecLimits& limits);
  ~GrpcCodec();

  std::unique_ptr<GrpcInfer> TakeInfer();
  void KeepInfer(std::unique_ptr<GrpcInfer> infer);

  GrpcDecoder decoder;
  Compressor compressor;
  Decompressor decompressor;
  std::string inflated;         // the request that is being read
  std::string plain, deflated;  // the answer that is being written
  Buffer room;                  // where sockets are read into: what is received is used up at once
  std::vector<std::unique_ptr<GrpcInfer>> idle;
  BlockPool blocks;  // of the sessions' HTTP/2
};

// Owned by its stream until it is enqueued, then by itself until it is delivered: Delivered hands it back to
// its stream, or, where that has gone, it destroys itself.
class GrpcInfer final : public InferWaiter {
 public:
  // Reads `message` and enqueues what it asks for: Host::FlushLater(batcher()) follows. Where it fails, `id`
  // is the request's as far as it could be read, in the message.
  Status Start(std::span<const std::byte> message, TimePoint deadline, InferCall::Takes takes,
               GrpcCodec& codec, Host& host, std::string_view& id);
  void OnDelivered(RefPtr<Request> request) override;
  // Of a model that answers several times: keeps what was delivered until the client has taken what was sent.
  void Hold(RefPtr<Request> request);
  bool holds() const { return !held_.empty(); }
  // REQUIRES: holds()
  RefPtr<Request> TakeHeld();
  // The stream has gone: withdraws the request. May destroy this.
  void Abandon();

  InferCall call;
  RequestTrace trace;
  GrpcStream* stream = nullptr;
  size_t position = 0;   // in the stream's list
  TimePoint began{};     // its message's first byte
  TimePoint read{};      // its message was whole
  TimePoint enqueued{};  // by the clock rather than the turn, as `read` is

 private:
  friend struct GrpcCodec;
  Status StartParsed(TimePoint deadline, InferCall::Takes takes, GrpcCodec& codec, Host& host);
  void BeginTrace(Tracer& tracer, std::string_view model);

  bool abandoning_ = false;
  bool delivered_ = false;  // while it was being abandoned, or to held_
  std::deque<RefPtr<Request>> held_;
};

}  // namespace falaj::wire

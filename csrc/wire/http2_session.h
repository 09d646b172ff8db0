// nghttp2's server side of one connection: its options, its callbacks, and what the gRPC session asks of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "wire/block_pool.h"
#include "wire/http2_known_head.h"
#include "wire/http2_output.h"
#include "wire/wire_options.h"

struct nghttp2_session;

namespace falaj::wire {

class GrpcSession;
class GrpcStream;
struct Http2Callbacks;

struct Http2Field {
  std::string_view name;
  std::string_view value;
  bool fixed = false;  // both outlive the session: they are not copied
};

// What RFC 9113 numbers, as far as it is said here.
enum class Http2Error : uint32_t {
  kNone = 0,
  kProtocol = 1,
  kInternal = 2,
  kCancel = 8,
  kEnhanceYourCalm = 11
};

// Says what has come to `session` and its streams (http2_callbacks.cc). Not thread-safe. After a failed
// Receive nothing more is received.
class Http2Session {
 public:
  // nghttp2 takes and gives back a dozen blocks for each call: of `blocks`, which outlives this.
  Http2Session(GrpcSession* session, const GrpcLimits& limits, BlockPool& blocks);

  enum class Received { kFine, kMalformed, kFlood };
  Received Receive(std::span<const std::byte> bytes);
  // Adds frames to `output` until it has about `most` bytes. False: nothing more can be sent.
  bool Gather(Http2Output& output, size_t most);
  // Within a gathering: what is left can wait for the next.
  bool GatheredEnough() const;
  bool WantsRead() const;
  bool WantsWrite() const;
  size_t queued_frames() const;

  // Gives bytes that were taken back to the windows.
  void ConsumeConnection(size_t bytes);
  void ConsumeStream(int32_t stream, size_t bytes);

  void Ping();
  // Asks for no more streams, with a ping behind it; its answer goes to GrpcSession::OnAnnouncementAnswered.
  void AnnounceShutdown();
  // Another ping whose answer goes there.
  void PingForEnd();
  // No stream beyond those begun.
  void GoAway(Http2Error error, std::string_view text);

  void Respond(int32_t stream, std::span<const Http2Field> fields, GrpcStream* replies);
  void RespondOnly(int32_t stream, std::span<const Http2Field> fields);
  void Trail(int32_t stream, std::span<const Http2Field> fields);
  // The stream has replies again.
  void Resume(int32_t stream);
  void Reset(int32_t stream, Http2Error error);
  // Others of the connection get their turn between its frames.
  void ShareTurns(int32_t stream);

 private:
  friend struct Http2Callbacks;
  struct Deleter {
    void operator()(nghttp2_session* session) const;
  };

  GrpcSession* const session_;
  std::unique_ptr<nghttp2_session, Deleter> http2_;
  Http2Output* gathering_ = nullptr;
  size_t gather_most_ = 0;
  Http2KnownHead known_head_;
  GrpcStream* last_ = nullptr;  // to begin; the session's, which never destroys one
};

}  // namespace falaj::wire

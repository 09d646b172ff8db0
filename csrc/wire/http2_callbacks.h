// nghttp2's callbacks, in C, as calls of the session and its streams.
#pragma once

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstdint>

namespace falaj::wire {

class GrpcStream;
class Http2Session;

// What the pings carry that follow the announcement of the end; others carry zeros.
inline constexpr std::array<uint8_t, 8> kEndPing{'g', 'o', 'o', 'd', 'b', 'y', 'e', '!'};

// Reads one frame's payload from its GrpcStream, `source->ptr`.
ssize_t ReadReplies(nghttp2_session* http2, int32_t id, uint8_t* buffer, size_t length, uint32_t* flags,
                    nghttp2_data_source* source, void* user);

// All of them; their user data is the Http2Session.
struct Http2Callbacks {
  static void Register(nghttp2_session_callbacks* callbacks);

  static GrpcStream* StreamOf(const Http2Session& self, nghttp2_session* http2, int32_t id);
  static int OnBeginFrame(nghttp2_session* http2, const nghttp2_frame_hd* head, void* user);
  static int OnBeginHeaders(nghttp2_session* http2, const nghttp2_frame* frame, void* user);
  static int OnHeader(nghttp2_session* http2, const nghttp2_frame* frame, nghttp2_rcbuf* name,
                      nghttp2_rcbuf* value, uint8_t flags, void* user);
  static bool ReadFollowed(Http2Session& self, GrpcStream& stream);
  static void EndHead(Http2Session& self, GrpcStream& stream);
  static int OnDataChunk(nghttp2_session* http2, uint8_t flags, int32_t id, const uint8_t* data, size_t bytes,
                         void* user);
  static int OnFrame(nghttp2_session* http2, const nghttp2_frame* frame, void* user);
  static int OnInvalidFrame(nghttp2_session* http2, const nghttp2_frame* frame, int error, void* user);
  static int OnFrameSent(nghttp2_session* http2, const nghttp2_frame* frame, void* user);
  static int OnFrameNotSent(nghttp2_session* http2, const nghttp2_frame* frame, int error, void* user);
  static int OnStreamClosed(nghttp2_session* http2, int32_t id, uint32_t error, void* user);
  static int SendData(nghttp2_session* http2, nghttp2_frame* frame, const uint8_t* frame_head, size_t length,
                      nghttp2_data_source* source, void* user);
};

}  // namespace falaj::wire

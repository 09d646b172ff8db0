#include "wire/http2_callbacks.h"

#include <algorithm>
#include <limits>

#include "wire/grpc_session.h"
#include "wire/http2_session.h"

namespace falaj::wire {
namespace {

constexpr size_t kFrameHeadBytes = 9;
constexpr int32_t kLastOfAll = std::numeric_limits<int32_t>::max();  // of a GOAWAY that only announces

std::string_view Text(nghttp2_rcbuf* buffer) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

std::span<const std::byte> Bytes(const uint8_t* bytes, size_t size) {
  return std::as_bytes(std::span(bytes, size));
}

bool EndsStream(const nghttp2_frame_hd& head) { return (head.flags & NGHTTP2_FLAG_END_STREAM) != 0; }
bool IsAck(const nghttp2_frame_hd& head) { return (head.flags & NGHTTP2_FLAG_ACK) != 0; }

}  // namespace

// Most of what comes belongs to the stream that came last, and is asked for its stream once a field. Streams'
// objects live as long as the session, and have their id while they are open.
GrpcStream* Http2Callbacks::StreamOf(const Http2Session& self, nghttp2_session* http2, int32_t id) {
  if (self.last_ != nullptr && self.last_->id() == id) return self.last_;
  return static_cast<GrpcStream*>(nghttp2_session_get_stream_user_data(http2, id));
}

void Http2Callbacks::Register(nghttp2_session_callbacks* callbacks) {
  nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, OnBeginFrame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, OnBeginHeaders);
  nghttp2_session_callbacks_set_on_header_callback2(callbacks, OnHeader);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnDataChunk);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, OnInvalidFrame);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, OnFrameSent);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, OnFrameNotSent);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnStreamClosed);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, SendData);
}

// Of PRIORITY, since we declined RFC 7540's priorities, no more is heard than that it begins.
int Http2Callbacks::OnBeginFrame(nghttp2_session* /*http2*/, const nghttp2_frame_hd* head, void* user) {
  GrpcSession& session = *static_cast<Http2Session*>(user)->session_;
  if (head->type == NGHTTP2_PRIORITY && !session.leaving()) session.OnControlFrame();
  return 0;
}

int Http2Callbacks::OnBeginHeaders(nghttp2_session* http2, const nghttp2_frame* frame, void* user) {
  GrpcSession& session = *static_cast<Http2Session*>(user)->session_;
  if (session.leaving() || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  Http2Session& self = *static_cast<Http2Session*>(user);
  self.last_ = session.OpenStream(frame->hd.stream_id);
  self.known_head_.Begin();
  nghttp2_session_set_stream_user_data(http2, frame->hd.stream_id, self.last_);
  return 0;
}

int Http2Callbacks::OnHeader(nghttp2_session* http2, const nghttp2_frame* frame, nghttp2_rcbuf* name,
                             nghttp2_rcbuf* value, uint8_t /*flags*/, void* user) {
  Http2Session& self = *static_cast<Http2Session*>(user);
  GrpcStream* const stream = StreamOf(self, http2, frame->hd.stream_id);
  if (stream == nullptr) return 0;
  const Http2KnownHead::Field field{name, value};
  if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
    stream->OnTrailer(Text(name), Text(value));
    return 0;
  }
  if (self.known_head_.Follows(field)) return 0;
  if (!ReadFollowed(self, *stream)) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  self.known_head_.Note(field);
  return stream->OnField(Text(name), Text(value)) ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

// The head is not the known one after all.
bool Http2Callbacks::ReadFollowed(Http2Session& self, GrpcStream& stream) {
  for (const auto& [name, value] : self.known_head_.Diverge()) {
    if (!stream.OnField(Text(name), Text(value))) return false;
  }
  return true;
}

void Http2Callbacks::EndHead(Http2Session& self, GrpcStream& stream) {
  if (self.known_head_.repeats()) return stream.OnKnownHead(self.known_head_.head());
  ReadFollowed(self, stream);  // where it is the beginning of the known one
  stream.OnHead();
  if (stream.infers()) self.known_head_.Learn(stream.head());
}

int Http2Callbacks::OnDataChunk(nghttp2_session* http2, uint8_t /*flags*/, int32_t id, const uint8_t* data,
                                size_t bytes, void* user) {
  Http2Session& self = *static_cast<Http2Session*>(user);
  // The connection's window is given back at once: what a paused call keeps waiting is bounded by its own,
  // and would hold up the other calls here.
  self.ConsumeConnection(bytes);
  GrpcStream* const stream = StreamOf(self, http2, id);
  if (stream != nullptr && !self.session_->leaving()) stream->OnData(Bytes(data, bytes));
  return 0;
}

int Http2Callbacks::OnFrame(nghttp2_session* http2, const nghttp2_frame* frame, void* user) {
  GrpcSession& session = *static_cast<Http2Session*>(user)->session_;
  if (session.leaving()) return 0;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: {
      const bool is_data = frame->hd.type == NGHTTP2_DATA;
      const bool ends = EndsStream(frame->hd);
      if (is_data && !ends && frame->hd.length == frame->data.padlen) session.OnControlFrame();
      GrpcStream* const stream = StreamOf(*static_cast<Http2Session*>(user), http2, frame->hd.stream_id);
      if (stream == nullptr) break;
      if (!is_data && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        EndHead(*static_cast<Http2Session*>(user), *stream);
      } else if (!is_data && !ends) {
        stream->OnMalformed();  // RFC 9113, 8.1: trailers end the stream
      }
      if (ends) stream->OnInputEnded();
      break;
    }
    case NGHTTP2_SETTINGS:
      if (!IsAck(frame->hd)) session.OnSettings();
      session.OnControlFrame();
      break;
    case NGHTTP2_PING:
      session.OnControlFrame();
      if (!IsAck(frame->hd)) {
        session.OnPing();
      } else if (std::ranges::equal(frame->ping.opaque_data, kEndPing)) {
        session.OnAnnouncementAnswered();
      }
      break;
    case NGHTTP2_RST_STREAM:
      session.OnReset();
      break;
    case NGHTTP2_GOAWAY:
      session.OnControlFrame();
      break;
    default:
      break;
  }
  return 0;
}

int Http2Callbacks::OnInvalidFrame(nghttp2_session* /*http2*/, const nghttp2_frame* /*frame*/, int /*error*/,
                                   void* user) {
  GrpcSession& session = *static_cast<Http2Session*>(user)->session_;
  if (!session.leaving()) session.OnControlFrame();
  return 0;
}

int Http2Callbacks::OnFrameSent(nghttp2_session* http2, const nghttp2_frame* frame, void* user) {
  GrpcSession& session = *static_cast<Http2Session*>(user)->session_;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS: {
      session.OnAnswerSent();
      if (!EndsStream(frame->hd)) break;
      // All is answered: a client that is still sending is told to stop.
      const GrpcStream* const stream =
          StreamOf(*static_cast<Http2Session*>(user), http2, frame->hd.stream_id);
      if (stream != nullptr && !stream->input_ended()) {
        nghttp2_submit_rst_stream(http2, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
      }
      break;
    }
    case NGHTTP2_RST_STREAM: {
      // Resets that a client provokes by its errors cost as much as its own. A refused stream was never
      // begun.
      const uint32_t error = frame->rst_stream.error_code;
      const bool ours = error == NGHTTP2_NO_ERROR || error == NGHTTP2_CANCEL;
      if (!ours && error != NGHTTP2_REFUSED_STREAM && !session.leaving()) session.OnReset();
      break;
    }
    case NGHTTP2_GOAWAY:
      // Only now: pings overtake what has not been sent.
      if (frame->goaway.last_stream_id == kLastOfAll) {
        nghttp2_submit_ping(http2, NGHTTP2_FLAG_NONE, kEndPing.data());
      }
      if (frame->goaway.error_code != NGHTTP2_NO_ERROR && !session.leaving()) session.OnProtocolFault();
      break;
    default:
      break;
  }
  return 0;
}

int Http2Callbacks::OnFrameNotSent(nghttp2_session* http2, const nghttp2_frame* frame, int error,
                                   void* /*user*/) {
  // Header fields that could not be sent: without them the stream would stay open for ever.
  const bool stream_lives = error != NGHTTP2_ERR_STREAM_CLOSED && error != NGHTTP2_ERR_STREAM_CLOSING;
  if (frame->hd.type == NGHTTP2_HEADERS && stream_lives) {
    nghttp2_submit_rst_stream(http2, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
  }
  return 0;
}

int Http2Callbacks::OnStreamClosed(nghttp2_session* http2, int32_t id, uint32_t /*error*/, void* user) {
  GrpcStream* const stream = StreamOf(*static_cast<Http2Session*>(user), http2, id);
  if (stream == nullptr) return 0;
  nghttp2_session_set_stream_user_data(http2, id, nullptr);
  static_cast<Http2Session*>(user)->session_->CloseStream(stream);
  return 0;
}

int Http2Callbacks::SendData(nghttp2_session* /*http2*/, nghttp2_frame* /*frame*/, const uint8_t* frame_head,
                             size_t length, nghttp2_data_source* source, void* user) {
  Http2Session& self = *static_cast<Http2Session*>(user);
  self.gathering_->Copy(Bytes(frame_head, kFrameHeadBytes));
  static_cast<GrpcStream*>(source->ptr)->WriteReplies(length, *self.gathering_);
  self.session_->OnAnswerSent();
  return 0;
}

ssize_t ReadReplies(nghttp2_session* /*http2*/, int32_t /*id*/, uint8_t* /*buffer*/, size_t length,
                    uint32_t* flags, nghttp2_data_source* source, void* user) {
  if (static_cast<Http2Session*>(user)->GatheredEnough()) return NGHTTP2_ERR_PAUSE;
  size_t bytes = length;
  const GrpcStream::Next next = static_cast<GrpcStream*>(source->ptr)->NextReplies(bytes);
  if (next == GrpcStream::Next::kNothing) return NGHTTP2_ERR_DEFERRED;
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (next == GrpcStream::Next::kLast) *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
  return static_cast<ssize_t>(bytes);
}

}  // namespace falaj::wire

#include <algorithm>
#include <charconv>
#include <cstring>

#include "fatal.h"
#include "http2_connection.h"
#include "load_connection.h"

namespace falaj::bench {
namespace {

// One call at a time of a connection's.
struct Slot {
  TimePoint since;
  size_t sent = 0;      // of the framed message
  size_t received = 0;  // bytes of DATA
  std::array<uint8_t, kGrpcPrefixBytes> prefix{};
  bool http_ok = false;
  int grpc_status = -1;  // none yet, or no number
};

class GrpcConnection final : public LoadConnection {
 public:
  GrpcConnection(FileDescriptor socket, const LoadTarget& target, AnswerSink& sink)
      : sink_(sink),
        body_(target.body),
        number_(target.varied),
        prefix_(GrpcPrefix(target.body.size())),
        authority_(target.host + ":" + std::to_string(target.port)),
        slots_(target.streams),
        callbacks_(Callbacks()),
        http2_(std::move(socket), Http2Connection::Role::kClient, *callbacks_, this) {
    for (Slot& slot : slots_) free_.push_back(&slot);
    fields_ = {StaticField(":method", "POST"),        StaticField(":scheme", "http"),
               StaticField(":path", target.path),     StaticField(":authority", authority_),
               StaticField("te", "trailers"),         StaticField("content-type", "application/grpc"),
               StaticField("user-agent", "wire_load")};
    for (const auto& [name, value] : target.headers) fields_.push_back(StaticField(name, value));
  }

  int fd() const override { return http2_.fd(); }
  size_t under_way() const override { return slots_.size() - free_.size(); }
  bool HasRoom() const override { return !free_.empty(); }
  const char* problem() const override { return problem_; }

  void Send(TimePoint since) override {
    Slot* const slot = free_.back();
    free_.pop_back();
    *slot = Slot{.since = since};
    number_.Write(body_, 0);
    nghttp2_data_provider message{};
    message.source.ptr = slot;
    message.read_callback = &ReadMessage;
    const int32_t stream =
        nghttp2_submit_request(http2_.session(), nullptr, fields_.data(), fields_.size(), &message, slot);
    if (stream < 0) Fatal(std::string("cannot make a call: ") + nghttp2_strerror(stream));
  }

  bool Flush() override { return http2_.Flush() || Broken(kClosed); }

  bool OnEvents(uint32_t events) override {
    if ((events & EPOLLIN) != 0 && !http2_.Read()) return Broken(kClosed);
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) return Broken(kClosed);
    if (nghttp2_session_check_request_allowed(http2_.session()) == 0) {
      return Broken("the server takes no more calls on a connection");
    }
    return Flush();
  }

 private:
  static GrpcConnection& Of(void* user) { return *static_cast<GrpcConnection*>(user); }
  static Slot* SlotOf(nghttp2_session* session, int32_t stream) {
    return static_cast<Slot*>(nghttp2_session_get_stream_user_data(session, stream));
  }
  static Http2Callbacks Callbacks();
  static ssize_t ReadMessage(nghttp2_session* session, int32_t stream, uint8_t* room, size_t length,
                             uint32_t* flags, nghttp2_data_source* source, void* user);

  bool Broken(const char* problem) {
    problem_ = problem;
    return false;
  }
  void OnField(Slot& slot, std::string_view name, std::string_view value);
  void OnData(Slot& slot, std::span<const uint8_t> data);
  void OnClose(Slot& slot, uint32_t error);

  AnswerSink& sink_;
  std::string body_;
  NumberWriter number_;
  const std::array<uint8_t, kGrpcPrefixBytes> prefix_;
  const std::string authority_;
  std::vector<nghttp2_nv> fields_;  // views of the above
  std::vector<Slot> slots_;
  std::vector<Slot*> free_;
  std::string status_text_;
  const char* problem_ = "";
  const Http2Callbacks callbacks_;
  Http2Connection http2_;  // the last to be made: it calls back
};

Http2Callbacks GrpcConnection::Callbacks() {
  Http2Callbacks callbacks = NewHttp2Callbacks();
  nghttp2_session_callbacks_set_on_header_callback(
      callbacks.get(),
      [](nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
         const uint8_t* value, size_t value_length, uint8_t, void* user) {
        const auto text = [](const uint8_t* bytes, size_t length) {
          return std::string_view(reinterpret_cast<const char*>(bytes), length);
        };
        Slot* const slot = SlotOf(session, frame->hd.stream_id);
        if (slot != nullptr) Of(user).OnField(*slot, text(name, name_length), text(value, value_length));
        return 0;
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks.get(),
      [](nghttp2_session* session, uint8_t, int32_t stream, const uint8_t* data, size_t length, void* user) {
        Slot* const slot = SlotOf(session, stream);
        if (slot != nullptr) Of(user).OnData(*slot, {data, length});
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks.get(), [](nghttp2_session* session, int32_t stream, uint32_t error, void* user) {
        Slot* const slot = SlotOf(session, stream);
        if (slot != nullptr) Of(user).OnClose(*slot, error);
        return 0;
      });
  return callbacks;
}

ssize_t GrpcConnection::ReadMessage(nghttp2_session*, int32_t, uint8_t* room, size_t length, uint32_t* flags,
                                    nghttp2_data_source* source, void* user) {
  const GrpcConnection& self = Of(user);
  Slot& slot = *static_cast<Slot*>(source->ptr);
  size_t filled = 0;
  while (slot.sent < kGrpcPrefixBytes && filled < length) room[filled++] = self.prefix_[slot.sent++];
  const std::string_view rest = std::string_view(self.body_).substr(slot.sent - kGrpcPrefixBytes);
  const size_t bytes = std::min(rest.size(), length - filled);
  std::memcpy(room + filled, rest.data(), bytes);
  slot.sent += bytes;
  if (bytes == rest.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(filled + bytes);
}

void GrpcConnection::OnField(Slot& slot, std::string_view name, std::string_view value) {
  if (name == ":status") {
    slot.http_ok = value == "200";
  } else if (name == "grpc-status") {
    const char* const end = value.data() + value.size();
    if (std::from_chars(value.data(), end, slot.grpc_status).ptr != end) slot.grpc_status = -1;
  }
}

void GrpcConnection::OnData(Slot& slot, std::span<const uint8_t> data) {
  for (size_t i = 0; i < data.size() && slot.received + i < kGrpcPrefixBytes; ++i) {
    slot.prefix[slot.received + i] = data[i];
  }
  slot.received += data.size();
}

void GrpcConnection::OnClose(Slot& slot, uint32_t error) {
  Answer answer{.since = slot.since};
  if (error != NGHTTP2_NO_ERROR) {
    status_text_ = std::string("a call was reset: ") + nghttp2_http2_strerror(error);
    answer.problem = status_text_.c_str();
  } else if (!slot.http_ok || slot.grpc_status != 0) {
    status_text_ = "the gRPC status of an answer is " + std::to_string(slot.grpc_status);
    answer.problem = status_text_.c_str();
  } else if (slot.received < kGrpcPrefixBytes ||
             !IsGrpcPrefix(slot.prefix, slot.received - kGrpcPrefixBytes)) {
    answer.problem = "an answer is not one gRPC message";
  } else {
    answer.bytes = slot.received - kGrpcPrefixBytes;
  }
  free_.push_back(&slot);
  sink_.OnAnswer(answer);
}

}  // namespace

std::unique_ptr<LoadConnection> MakeGrpcConnection(FileDescriptor socket, const LoadTarget& target,
                                                   AnswerSink& sink) {
  return std::make_unique<GrpcConnection>(std::move(socket), target, sink);
}

}  // namespace falaj::bench

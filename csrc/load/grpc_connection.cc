#include <sys/epoll.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

#include "load/connection.h"
#include "load/grpc_prefix.h"
#include "load/http2_connection.h"

namespace falaj::load {
namespace {

constexpr size_t kErrorBytes = 512;
constexpr int kMostStatus = 16;
constexpr uint32_t kMostHttp2Error = NGHTTP2_HTTP_1_1_REQUIRED;

// One call at a time of a connection's.
struct Slot {
  TimePoint since;
  TimePoint begun;      // when it was sent
  int32_t stream = 0;   // 0: the slot is free
  size_t sequence = 0;  // index of its mark
  OwnRequest own;
  const std::string* message = nullptr;  // framed
  size_t sent = 0;                       // of the message
  size_t received = 0;                   // bytes of DATA
  std::array<uint8_t, kGrpcPrefixBytes> prefix{};
  int http_status = 0;
  int grpc_status = -1;  // none yet, or none of gRPC's
  bool told = false;     // it was given up
  std::string text;      // the server's message, percent-encoded
  std::string body;      // what is kept of the answer
};

class GrpcConnection final : public Connection {
 public:
  GrpcConnection(Stream stream, RequestSource requests, size_t streams, AnswerSink& sink)
      : sink_(sink),
        requests_(std::move(requests)),
        slots_(streams),
        callbacks_(Callbacks()),
        http2_(std::move(stream), Http2Connection::Role::kClient, *callbacks_, this) {
    for (Slot& slot : slots_) free_.push_back(&slot);
    const TargetOptions& options = requests_.target().options();
    fields_ = {
        StaticField(":method", "POST"),          StaticField(":scheme", options.tls ? "https" : "http"),
        StaticField(":path", options.path),      StaticField(":authority", requests_.target().authority()),
        StaticField("te", "trailers"),           StaticField("content-type", "application/grpc"),
        StaticField("user-agent", "falaj-bench")};
    for (const auto& [name, value] : options.headers) fields_.push_back(StaticField(name, value));
  }

  int fd() const override { return http2_.stream().fd(); }
  bool is_open() const override { return http2_.stream().is_open(); }
  size_t under_way() const override { return slots_.size() - free_.size(); }
  bool HasRoom() const override { return !free_.empty() && is_open() && !goes_away_; }
  const End& end() const override { return end_; }

  void Send(TimePoint since, TimePoint now, const Mark& mark) override;
  void AddUnderWay(std::vector<size_t>& indices) const override;
  bool Flush() override;
  bool OnEvents(uint32_t events) override;
  bool Expire(TimePoint sent_before) override;

 private:
  static GrpcConnection& Of(void* user) { return *static_cast<GrpcConnection*>(user); }
  static Slot* SlotOf(nghttp2_session* session, int32_t stream) {
    return static_cast<Slot*>(nghttp2_session_get_stream_user_data(session, stream));
  }
  static Http2Callbacks Callbacks();
  static ssize_t ReadMessage(nghttp2_session* session, int32_t stream, uint8_t* room, size_t length,
                             uint32_t* flags, nghttp2_data_source* source, void* user);

  bool Broken();
  void OnField(Slot& slot, std::string_view name, std::string_view value);
  void OnData(Slot& slot, std::span<const uint8_t> data);
  void OnClose(Slot& slot, uint32_t error);
  void Judge(const Slot& slot, uint32_t error, Answer& answer);

  AnswerSink& sink_;
  RequestSource requests_;
  std::vector<nghttp2_nv> fields_;  // views of the target's
  std::vector<Slot> slots_;
  std::vector<Slot*> free_;
  std::string problem_;  // of the answer that is told
  bool goes_away_ = false;
  End end_;
  const Http2Callbacks callbacks_;
  Http2Connection http2_;  // the last to be made: it calls back
};

void GrpcConnection::Send(TimePoint since, TimePoint now, const Mark& mark) {
  Slot* const slot = free_.back();
  free_.pop_back();
  slot->since = since;
  slot->begun = now;
  slot->sequence = mark.index;
  slot->message = &requests_.Next(mark, static_cast<size_t>(slot - slots_.data()), slot->own);
  slot->sent = slot->received = 0;
  slot->http_status = 0;
  slot->grpc_status = -1;
  slot->told = false;
  slot->text.clear();
  slot->body.clear();
  nghttp2_data_provider message{};
  message.source.ptr = slot;
  message.read_callback = &ReadMessage;
  slot->stream =
      nghttp2_submit_request(http2_.session(), nullptr, fields_.data(), fields_.size(), &message, slot);
  if (slot->stream < 0) {  // stream numbers are out, or memory is
    goes_away_ = true;
    OnClose(*slot, NGHTTP2_REFUSED_STREAM);
  }
}

bool GrpcConnection::OnEvents(uint32_t events) {
  Stream& stream = http2_.stream();
  if (!stream.is_open()) {
    if (!stream.Establish()) return Broken();
    if (!stream.is_open()) return true;
  }
  const bool ends = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  if ((ends || (events & EPOLLIN) != 0) && !http2_.Read(ends)) return Broken();
  goes_away_ = goes_away_ || nghttp2_session_check_request_allowed(http2_.session()) == 0;
  return Flush();
}

bool GrpcConnection::Flush() {
  if (!http2_.Flush()) return Broken();
  if (nghttp2_session_want_read(http2_.session()) == 0 && nghttp2_session_want_write(http2_.session()) == 0) {
    end_ = {ErrorKind{Failure::kMalformed}, "the server broke the rules of HTTP/2"};
    return false;
  }
  return !goes_away_ || under_way() > 0;
}

bool GrpcConnection::Expire(TimePoint sent_before) {
  for (Slot& slot : slots_) {
    if (slot.stream == 0 || slot.told || slot.begun >= sent_before) continue;
    slot.told = true;
    nghttp2_submit_rst_stream(http2_.session(), NGHTTP2_FLAG_NONE, slot.stream, NGHTTP2_CANCEL);
    sink_.OnAnswer({.since = slot.since,
                    .failure = ErrorKind{Failure::kTimeout},
                    .text = "a request was not answered in time",
                    .sequence = slot.sequence});
  }
  return !is_open() || Flush();
}

void GrpcConnection::AddUnderWay(std::vector<size_t>& indices) const {
  for (const Slot& slot : slots_) {
    if (slot.stream != 0 && !slot.told) indices.push_back(slot.sequence);
  }
}

bool GrpcConnection::Broken() {
  if (http2_.problem() != nullptr) {
    end_ = {ErrorKind{Failure::kMalformed}, std::string("the server speaks no HTTP/2: ") + http2_.problem()};
  } else {
    end_ = {http2_.stream().failure(), http2_.stream().problem()};
  }
  return false;
}

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
                                    nghttp2_data_source* source, void*) {
  Slot& slot = *static_cast<Slot*>(source->ptr);
  const size_t rest = slot.message->size() - slot.sent;
  const size_t bytes = std::min(rest, length);
  std::memcpy(room, slot.message->data() + slot.sent, bytes);
  slot.sent += bytes;
  if (bytes == rest) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(bytes);
}

void GrpcConnection::OnField(Slot& slot, std::string_view name, std::string_view value) {
  const auto number = [&](int least, int most, int otherwise) {
    int parsed = otherwise;
    const char* const end = value.data() + value.size();
    const bool whole = std::from_chars(value.data(), end, parsed).ptr == end;
    return whole && parsed >= least && parsed <= most ? parsed : otherwise;
  };
  if (name == ":status") {
    slot.http_status = number(100, 999, 0);
  } else if (name == "grpc-status") {
    slot.grpc_status = number(0, kMostStatus, -1);
  } else if (name == "grpc-message") {
    slot.text = value.substr(0, kErrorBytes);
  }
}

void GrpcConnection::OnData(Slot& slot, std::span<const uint8_t> data) {
  size_t at = 0;
  for (; at < data.size() && slot.received < kGrpcPrefixBytes; ++at) slot.prefix[slot.received++] = data[at];
  const std::span<const uint8_t> rest = data.subspan(at);
  slot.received += rest.size();
  const size_t keep = requests_.target().options().keep;
  if (slot.body.size() < keep) {
    slot.body.append(reinterpret_cast<const char*>(rest.data()),
                     std::min(rest.size(), keep - slot.body.size()));
  }
}

void GrpcConnection::OnClose(Slot& slot, uint32_t error) {
  slot.stream = 0;
  free_.push_back(&slot);
  if (slot.told) return;
  Answer answer{
      .since = slot.since, .status = slot.grpc_status, .body = slot.body, .sequence = slot.sequence};
  Judge(slot, error, answer);
  sink_.OnAnswer(answer);
}

void GrpcConnection::Judge(const Slot& slot, uint32_t error, Answer& answer) {
  const auto fails = [&](ErrorKind kind, std::string text) {
    answer.failure = kind;
    problem_ = std::move(text);
    answer.text = problem_;
    answer.body = slot.text;
  };
  if (error != NGHTTP2_NO_ERROR) {
    const int code = error <= kMostHttp2Error ? static_cast<int>(error) : -1;
    fails({Failure::kStream, code}, std::string("a call was reset: ") + nghttp2_http2_strerror(error));
  } else if (slot.http_status != 200) {
    fails({Failure::kHttpStatus, slot.http_status},
          "the HTTP status of an answer is " + std::to_string(slot.http_status));
  } else if (slot.grpc_status != 0) {
    fails({Failure::kGrpcStatus, slot.grpc_status},
          "the gRPC status of an answer is " + std::to_string(slot.grpc_status));
  } else if (slot.received < kGrpcPrefixBytes ||
             !IsGrpcPrefix(slot.prefix, slot.received - kGrpcPrefixBytes)) {
    fails({Failure::kMalformed}, "an answer is not one gRPC message");
  } else {
    answer.bytes = slot.received - kGrpcPrefixBytes;
  }
}

}  // namespace

std::unique_ptr<Connection> MakeGrpcConnection(Stream stream, RequestSource requests, size_t streams,
                                               AnswerSink& sink) {
  return std::make_unique<GrpcConnection>(std::move(stream), std::move(requests), streams, sink);
}

}  // namespace falaj::load

// A gRPC client without a network: nghttp2's client side, whose bytes go to a session and back.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fakes/fake_host.h"
#include "wire/grpc_framing.h"

namespace falaj::wire::test {

inline constexpr std::string_view kInferPath = "/inference.GRPCInferenceService/ModelInfer";
inline constexpr std::string_view kStreamPath = "/inference.GRPCInferenceService/ModelStreamInfer";

// A message with its prefix.
inline std::string Framed(std::string_view message, bool compressed = false) {
  std::string framed;
  AppendGrpcPrefix(compressed, message.size(), framed);
  return framed.append(message);
}

// What came back on one stream.
struct GrpcAnswer {
  std::map<std::string, std::string> head;
  std::map<std::string, std::string> trailers;  // of an answer of trailers only: its one head
  std::string data;
  bool ended = false;  // by END_STREAM
  bool closed = false;
  uint32_t error = 0;  // with which it was closed

  // -1: no status has come.
  int status() const { return trailers.contains("grpc-status") ? std::stoi(trailers.at("grpc-status")) : -1; }
  std::vector<std::string> messages() const {
    std::vector<std::string> found;
    for (size_t at = 0; at + kGrpcPrefixBytes <= data.size();) {
      size_t bytes = 0;
      for (size_t i = 1; i < kGrpcPrefixBytes; ++i) bytes = bytes << 8 | static_cast<uint8_t>(data[at + i]);
      found.push_back(data.substr(at + kGrpcPrefixBytes, bytes));
      at += kGrpcPrefixBytes + bytes;
    }
    return found;
  }
};

struct GoAway {
  int32_t last_stream = 0;
  uint32_t error = 0;
  std::string text;
};

class GrpcClient {
 public:
  struct Options {
    uint32_t window = 65535;    // of each stream, towards us
    bool opens_windows = true;  // or OpenWindow does
  };

  explicit GrpcClient(Options options) {
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, options.opens_windows ? 0 : 1);
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClosed);
    nghttp2_session_client_new2(&http2_, callbacks, this, option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.window}};
    nghttp2_submit_settings(http2_, NGHTTP2_FLAG_NONE, settings, 1);
  }
  GrpcClient() : GrpcClient(Options()) {}
  ~GrpcClient() { nghttp2_session_del(http2_); }
  GrpcClient(const GrpcClient&) = delete;
  GrpcClient& operator=(const GrpcClient&) = delete;

  using Pairs = std::vector<std::pair<std::string, std::string>>;
  static Pairs Head(std::string_view path) {
    return {{":method", "POST"},
            {":scheme", "http"},
            {":path", std::string(path)},
            {":authority", "h"},
            {"content-type", "application/grpc"},
            {"te", "trailers"}};
  }
  // Opens a stream; `body` is framed already, and its end ends the stream where `end` says so.
  int32_t Open(const Pairs& head, std::string body, bool end) {
    std::vector<nghttp2_nv> fields;
    for (const auto& [name, value] : head) fields.push_back(Field(name, value));
    auto out = std::make_unique<Outgoing>();
    out->bytes = std::move(body);
    out->end = end;
    nghttp2_data_provider provider{};
    provider.source.ptr = out.get();
    provider.read_callback = Read;
    const int32_t id =
        nghttp2_submit_request(http2_, nullptr, fields.data(), fields.size(), &provider, nullptr);
    outgoing_[id] = std::move(out);
    return id;
  }
  int32_t Call(std::string_view path, std::string_view message, const Pairs& more = {}) {
    Pairs head = Head(path);
    head.insert(head.end(), more.begin(), more.end());
    return Open(head, Framed(message), true);
  }
  // More of a stream that was not ended.
  void Send(int32_t id, std::string_view bytes, bool end) {
    outgoing_[id]->bytes += bytes;
    outgoing_[id]->end = end;
    nghttp2_session_resume_data(http2_, id);
  }
  void Reset(int32_t id) { nghttp2_submit_rst_stream(http2_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL); }
  void Ping() { nghttp2_submit_ping(http2_, NGHTTP2_FLAG_NONE, nullptr); }
  // Of a stream, and of the connection; `id` 0: of the connection alone.
  void OpenWindow(int32_t id, int32_t bytes) {
    if (id != 0) nghttp2_submit_window_update(http2_, NGHTTP2_FLAG_NONE, id, bytes);
    nghttp2_submit_window_update(http2_, NGHTTP2_FLAG_NONE, 0, bytes);
  }

  // Everything that we have to send now.
  std::string Output() {
    std::string all;
    const uint8_t* data = nullptr;
    ssize_t bytes = 0;
    while ((bytes = nghttp2_session_mem_send(http2_, &data)) > 0) {
      all.append(reinterpret_cast<const char*>(data), static_cast<size_t>(bytes));
    }
    return all;
  }
  void Input(std::string_view bytes) {
    nghttp2_session_mem_recv(http2_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  // Moves bytes both ways, in pieces of at most `piece`, until none are left. Ours are kept in `sent`.
  void Exchange(Protocol& session, size_t piece = SIZE_MAX) {
    while (true) {
      unfed_ += Output();
      const size_t fed = falaj::test::Feed(session, unfed_, piece);
      sent.append(unfed_, 0, fed);
      unfed_.erase(0, fed);
      const std::string answer = falaj::test::Drain(session, piece);
      Input(answer);
      if (fed == 0 && answer.empty() && (unfed_.empty() || !session.WantsInput())) return;
    }
  }

  GrpcAnswer& answer(int32_t id) { return answers_[id]; }
  std::vector<GoAway> goaways;
  int pings = 0;  // from the server
  std::string sent;

 private:
  struct Outgoing {
    std::string bytes;
    size_t taken = 0;
    bool end = false;
  };

  static nghttp2_nv Field(const std::string& name, const std::string& value) {
    return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
            reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
            NGHTTP2_NV_FLAG_NONE};
  }
  static ssize_t Read(nghttp2_session*, int32_t, uint8_t* to, size_t length, uint32_t* flags,
                      nghttp2_data_source* source, void*) {
    auto& out = *static_cast<Outgoing*>(source->ptr);
    const size_t bytes = std::min(length, out.bytes.size() - out.taken);
    std::memcpy(to, out.bytes.data() + out.taken, bytes);
    out.taken += bytes;
    if (out.taken == out.bytes.size() && out.end) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (bytes == 0) {
      return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(bytes);
  }
  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_bytes,
                      const uint8_t* value, size_t value_bytes, uint8_t, void* user) {
    GrpcAnswer& answer = static_cast<GrpcClient*>(user)->answers_[frame->hd.stream_id];
    const std::string key(reinterpret_cast<const char*>(name), name_bytes);
    const std::string text(reinterpret_cast<const char*>(value), value_bytes);
    const bool first = frame->headers.cat == NGHTTP2_HCAT_RESPONSE;
    if (first) answer.head[key] = text;
    if (!first || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) answer.trailers[key] = text;
    return 0;
  }
  static int OnData(nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t bytes, void* user) {
    static_cast<GrpcClient*>(user)->answers_[id].data.append(reinterpret_cast<const char*>(data), bytes);
    return 0;
  }
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    auto& self = *static_cast<GrpcClient*>(user);
    if (frame->hd.type == NGHTTP2_GOAWAY) {
      self.goaways.push_back({frame->goaway.last_stream_id, frame->goaway.error_code,
                              std::string(reinterpret_cast<const char*>(frame->goaway.opaque_data),
                                          frame->goaway.opaque_data_len)});
    }
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) ++self.pings;
    const bool of_stream = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (of_stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      self.answers_[frame->hd.stream_id].ended = true;
    }
    return 0;
  }
  static int OnClosed(nghttp2_session*, int32_t id, uint32_t error, void* user) {
    GrpcAnswer& answer = static_cast<GrpcClient*>(user)->answers_[id];
    answer.closed = true;
    answer.error = error;
    return 0;
  }

  nghttp2_session* http2_ = nullptr;
  std::map<int32_t, std::unique_ptr<Outgoing>> outgoing_;
  std::map<int32_t, GrpcAnswer> answers_;
  std::string unfed_;
};

}  // namespace falaj::wire::test

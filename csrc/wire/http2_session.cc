#include "wire/http2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>

#include "wire/http2_callbacks.h"

namespace falaj::wire {
namespace {

// Larger frames than the default mean that more messages lie whole in one, and are read where they lie.
constexpr uint32_t kMaxFrameBytes = 64 * 1024;
// Of fields at a time: those of a reply and a control plane's trailing metadata.
constexpr size_t kMostFields = 64;
constexpr uint64_t kNoBound = uint64_t{1} << 30;

class NameValues {
 public:
  explicit NameValues(std::span<const Http2Field> fields) {
    for (const Http2Field& field : fields.first(std::min(fields.size(), kMostFields))) {
      const uint8_t flags =
          field.fixed ? NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE : NGHTTP2_NV_FLAG_NONE;
      fields_[count_++] = {Mutable(field.name), Mutable(field.value), field.name.size(), field.value.size(),
                           flags};
    }
  }
  const nghttp2_nv* data() const { return fields_.data(); }
  size_t size() const { return count_; }

 private:
  // nghttp2 reads them only.
  static uint8_t* Mutable(std::string_view text) {
    return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));
  }

  std::array<nghttp2_nv, kMostFields> fields_;
  size_t count_ = 0;
};

struct DeleteOption {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};
struct DeleteCallbacks {
  void operator()(nghttp2_session_callbacks* callbacks) const { nghttp2_session_callbacks_del(callbacks); }
};

nghttp2_mem MemoryOf(BlockPool& blocks) {
  return {&blocks, [](size_t bytes, void* user) { return static_cast<BlockPool*>(user)->Take(bytes); },
          [](void* block, void* user) { static_cast<BlockPool*>(user)->Give(block); },
          [](size_t count, size_t bytes, void* user) {
            return static_cast<BlockPool*>(user)->TakeZeroed(count, bytes);
          },
          [](void* block, size_t bytes, void* user) {
            return static_cast<BlockPool*>(user)->Resize(block, bytes);
          }};
}

void SubmitSettings(nghttp2_session* http2, const GrpcLimits& limits) {
  const std::array<nghttp2_settings_entry, 5> settings{
      {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams},
       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window_bytes},
       {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kMaxFrameBytes},
       {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(limits.max_metadata_bytes)},
       // No tree of priorities, which clients could make us tend; see ShareTurns for what is in its place.
       {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}}};
  nghttp2_submit_settings(http2, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(http2, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<int32_t>(limits.connection_window_bytes));
}

}  // namespace

void Http2Session::Deleter::operator()(nghttp2_session* session) const { nghttp2_session_del(session); }

Http2Session::Http2Session(GrpcSession* session, const GrpcLimits& limits, BlockPool& blocks)
    : session_(session) {
  nghttp2_option* raw_option = nullptr;
  nghttp2_session_callbacks* raw_callbacks = nullptr;
  nghttp2_session* raw_session = nullptr;
  // These three fail only where memory is out; then nothing is ever received (see Receive).
  if (nghttp2_option_new(&raw_option) != 0) return;
  const std::unique_ptr<nghttp2_option, DeleteOption> option(raw_option);
  nghttp2_option_set_no_auto_window_update(option.get(), 1);
  // Ours is the bound that is configured (Http2Guard); nghttp2's stays out of its way.
  nghttp2_option_set_stream_reset_rate_limit(option.get(), kNoBound, kNoBound);
  // What it would ask of each field of each call we ask ourselves (Http2FieldRules), of a repeated head once.
  nghttp2_option_set_no_http_messaging(option.get(), 1);
  if (nghttp2_session_callbacks_new(&raw_callbacks) != 0) return;
  const std::unique_ptr<nghttp2_session_callbacks, DeleteCallbacks> callbacks(raw_callbacks);
  Http2Callbacks::Register(callbacks.get());
  nghttp2_mem memory = MemoryOf(blocks);
  if (nghttp2_session_server_new3(&raw_session, callbacks.get(), this, option.get(), &memory) != 0) return;
  http2_.reset(raw_session);
  SubmitSettings(http2_.get(), limits);
}

Http2Session::Received Http2Session::Receive(std::span<const std::byte> bytes) {
  if (http2_ == nullptr) return Received::kMalformed;
  const ssize_t used =
      nghttp2_session_mem_recv(http2_.get(), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (used >= 0) return Received::kFine;
  return used == NGHTTP2_ERR_FLOODED ? Received::kFlood : Received::kMalformed;
}

bool Http2Session::Gather(Http2Output& output, size_t most) {
  if (http2_ == nullptr) return false;
  gathering_ = &output;
  gather_most_ = most;
  bool fine = true;
  while (output.size() < most) {
    const uint8_t* data = nullptr;
    const ssize_t bytes = nghttp2_session_mem_send(http2_.get(), &data);
    fine = bytes >= 0;
    if (bytes <= 0) break;
    output.Copy(std::as_bytes(std::span(data, static_cast<size_t>(bytes))));
  }
  gathering_ = nullptr;
  return fine;
}

bool Http2Session::GatheredEnough() const { return gathering_->size() >= gather_most_; }

bool Http2Session::WantsRead() const { return http2_ != nullptr && nghttp2_session_want_read(http2_.get()); }
bool Http2Session::WantsWrite() const {
  return http2_ != nullptr && nghttp2_session_want_write(http2_.get());
}
size_t Http2Session::queued_frames() const {
  return http2_ != nullptr ? nghttp2_session_get_outbound_queue_size(http2_.get()) : 0;
}

// What the calls below return says only that memory is out or that the stream has gone meanwhile; its closing
// is told by OnStreamClosed.

void Http2Session::ConsumeConnection(size_t bytes) {
  nghttp2_session_consume_connection(http2_.get(), bytes);
}
void Http2Session::ConsumeStream(int32_t stream, size_t bytes) {
  if (bytes > 0) nghttp2_session_consume_stream(http2_.get(), stream, bytes);
}

void Http2Session::Ping() {
  if (http2_ != nullptr) nghttp2_submit_ping(http2_.get(), NGHTTP2_FLAG_NONE, nullptr);
}
void Http2Session::AnnounceShutdown() {
  if (http2_ != nullptr) nghttp2_submit_shutdown_notice(http2_.get());
}
void Http2Session::PingForEnd() {
  if (http2_ != nullptr) nghttp2_submit_ping(http2_.get(), NGHTTP2_FLAG_NONE, kEndPing.data());
}
void Http2Session::GoAway(Http2Error error, std::string_view text) {
  if (http2_ == nullptr) return;
  nghttp2_submit_goaway(http2_.get(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(http2_.get()), static_cast<uint32_t>(error),
                        reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

void Http2Session::Respond(int32_t stream, std::span<const Http2Field> fields, GrpcStream* replies) {
  const NameValues list(fields);
  nghttp2_data_provider provider{};
  provider.source.ptr = replies;
  provider.read_callback = ReadReplies;
  nghttp2_submit_response(http2_.get(), stream, list.data(), list.size(), &provider);
}
void Http2Session::RespondOnly(int32_t stream, std::span<const Http2Field> fields) {
  const NameValues list(fields);
  nghttp2_submit_response(http2_.get(), stream, list.data(), list.size(), nullptr);
}
void Http2Session::Trail(int32_t stream, std::span<const Http2Field> fields) {
  const NameValues list(fields);
  nghttp2_submit_trailer(http2_.get(), stream, list.data(), list.size());
}
void Http2Session::Resume(int32_t stream) { nghttp2_session_resume_data(http2_.get(), stream); }
void Http2Session::Reset(int32_t stream, Http2Error error) {
  nghttp2_submit_rst_stream(http2_.get(), NGHTTP2_FLAG_NONE, stream, static_cast<uint32_t>(error));
}
void Http2Session::ShareTurns(int32_t stream) {
  const nghttp2_extpri priority{NGHTTP2_EXTPRI_DEFAULT_URGENCY, /*inc=*/1};
  nghttp2_session_change_extpri_stream_priority(http2_.get(), stream, &priority, /*ignore_client_signal=*/1);
}

}  // namespace falaj::wire

#include "load/http2_connection.h"

#include <array>
#include <new>

namespace falaj::load {
namespace {

constexpr size_t kInputBytes = 64 * 1024;
constexpr size_t kWriteBytes = 64 * 1024;  // gathered before the socket is written
constexpr int32_t kWindowBytes = 16 << 20;

struct OptionDeleter {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};

}  // namespace

Http2Callbacks NewHttp2Callbacks() {
  nghttp2_session_callbacks* made = nullptr;
  if (nghttp2_session_callbacks_new(&made) != 0) throw std::bad_alloc();
  return Http2Callbacks(made);
}

nghttp2_nv StaticField(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view text) {
    return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

Http2Connection::Http2Connection(Stream stream, Role role, const nghttp2_session_callbacks& callbacks,
                                 void* user)
    : stream_(std::move(stream)), input_(kInputBytes) {
  nghttp2_option* raw_option = nullptr;
  if (nghttp2_option_new(&raw_option) != 0) throw std::bad_alloc();
  const std::unique_ptr<nghttp2_option, OptionDeleter> option(raw_option);
  nghttp2_option_set_no_closed_streams(raw_option, 1);  // their memory is not kept for priorities
  nghttp2_session* made = nullptr;
  const auto make = role == Role::kServer ? &nghttp2_session_server_new2 : &nghttp2_session_client_new2;
  if (make(&made, &callbacks, user, raw_option) != 0) throw std::bad_alloc();
  session_.reset(made);
  const std::array<nghttp2_settings_entry, 2> settings{{
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindowBytes},
      role == Role::kServer ? nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 4096}
                            : nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  }};
  if (nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) != 0 ||
      nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0, kWindowBytes) != 0) {
    throw std::bad_alloc();
  }
}

bool Http2Connection::Read(bool ends) {
  while (true) {
    const ssize_t count = stream_.Read(input_);
    if (count <= 0) return count == 0;
    const auto bytes = static_cast<size_t>(count);
    const auto* const data = reinterpret_cast<const uint8_t*>(input_.data());
    if (const ssize_t taken = nghttp2_session_mem_recv(session_.get(), data, bytes); taken < 0)
      return Wrong(taken);
    // Less than was asked for: the rest is a new edge.
    if (bytes < input_.size() && stream_.drains() && !ends) return true;
  }
}

bool Http2Connection::Flush() {
  while (true) {
    if (!Write()) return false;
    if (written_ < output_.size()) return true;  // the socket is full; its next edge calls here again
    output_.clear();
    written_ = 0;
    while (output_.size() < kWriteBytes) {
      const uint8_t* bytes = nullptr;
      const ssize_t count = nghttp2_session_mem_send(session_.get(), &bytes);
      if (count < 0) return Wrong(count);
      if (count == 0) break;
      output_.insert(output_.end(), bytes, bytes + count);
    }
    if (output_.empty()) return true;
  }
}

bool Http2Connection::Write() {
  while (written_ < output_.size()) {
    const ssize_t count = stream_.Write({output_.data() + written_, output_.size() - written_});
    if (count <= 0) return count == 0;
    written_ += static_cast<size_t>(count);
  }
  return true;
}

bool Http2Connection::Wrong(ssize_t error) {
  problem_ = nghttp2_strerror(static_cast<int>(error));
  return false;
}

}  // namespace falaj::load

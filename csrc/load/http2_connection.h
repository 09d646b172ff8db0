// An nghttp2 session on a stream, for either side of a connection.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "load/stream.h"

namespace falaj::load {

struct CallbacksDeleter {
  void operator()(nghttp2_session_callbacks* callbacks) const { nghttp2_session_callbacks_del(callbacks); }
};
using Http2Callbacks = std::unique_ptr<nghttp2_session_callbacks, CallbacksDeleter>;
// Throws std::bad_alloc.
Http2Callbacks NewHttp2Callbacks();

// A header field whose bytes outlive the session: nghttp2 copies nothing.
nghttp2_nv StaticField(std::string_view name, std::string_view value);

// Belongs to one thread. `user` is what the callbacks are given.
class Http2Connection {
 public:
  enum class Role { kServer, kClient };
  // Throws std::bad_alloc.
  Http2Connection(Stream stream, Role role, const nghttp2_session_callbacks& callbacks, void* user);
  Http2Connection(const Http2Connection&) = delete;
  Http2Connection& operator=(const Http2Connection&) = delete;

  Stream& stream() { return stream_; }
  const Stream& stream() const { return stream_; }
  nghttp2_session* session() const { return session_.get(); }

  // Gives nghttp2 all that the socket has; false: the stream failed, or the peer spoke no HTTP/2.
  // `ends`: its end has been told, and is to be found. REQUIRES: the stream is open
  bool Read(bool ends);
  // Writes all that nghttp2 has, as far as the socket takes it: many frames in one call. False as above.
  bool Flush();
  // What nghttp2 found wrong; null where it was the stream that failed.
  const char* problem() const { return problem_; }

 private:
  bool Write();
  bool Wrong(ssize_t error);

  struct SessionDeleter {
    void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
  };
  Stream stream_;
  std::unique_ptr<nghttp2_session, SessionDeleter> session_;
  std::vector<char> input_;
  std::vector<char> output_;  // from written_ on, not yet taken by the socket
  size_t written_ = 0;
  const char* problem_ = nullptr;
};

}  // namespace falaj::load

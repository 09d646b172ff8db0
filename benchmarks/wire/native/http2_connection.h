// An nghttp2 session on a non-blocking socket, for either side of a connection.
#pragma once

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "sockets.h"

namespace falaj::bench {

struct CallbacksDeleter {
  void operator()(nghttp2_session_callbacks* callbacks) const { nghttp2_session_callbacks_del(callbacks); }
};
using Http2Callbacks = std::unique_ptr<nghttp2_session_callbacks, CallbacksDeleter>;
Http2Callbacks NewHttp2Callbacks();

// A header field whose bytes outlive the session: nghttp2 copies nothing.
nghttp2_nv StaticField(std::string_view name, std::string_view value);

// The five bytes before a gRPC message: not compressed, and its length.
constexpr size_t kGrpcPrefixBytes = 5;
std::array<uint8_t, kGrpcPrefixBytes> GrpcPrefix(size_t message_bytes);
// Whether `prefix` announces an uncompressed message of so many bytes.
bool IsGrpcPrefix(const std::array<uint8_t, kGrpcPrefixBytes>& prefix, size_t message_bytes);

// Belongs to one thread. `user` is what the callbacks are given.
class Http2Connection {
 public:
  enum class Role { kServer, kClient };
  Http2Connection(FileDescriptor socket, Role role, const nghttp2_session_callbacks& callbacks, void* user);
  Http2Connection(const Http2Connection&) = delete;
  Http2Connection& operator=(const Http2Connection&) = delete;

  int fd() const { return socket_.get(); }
  nghttp2_session* session() const { return session_.get(); }

  // Gives nghttp2 all that the socket has; false: the peer closed it, or spoke no HTTP/2.
  bool Read();
  // Writes all that nghttp2 has, as far as the socket takes it: many frames in one call. False: broken.
  bool Flush();

 private:
  bool Write();

  struct SessionDeleter {
    void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
  };
  FileDescriptor socket_;
  std::unique_ptr<nghttp2_session, SessionDeleter> session_;
  std::vector<uint8_t> input_;
  std::vector<uint8_t> output_;  // from written_ on, not yet taken by the socket
  size_t written_ = 0;
};

}  // namespace falaj::bench

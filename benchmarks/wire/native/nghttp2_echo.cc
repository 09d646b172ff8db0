// nghttp2_echo --threads N --port P --reply-bytes B --fail-every F: unary gRPC on nghttp2 and epoll and
// nothing else. It answers each message with one of B bytes (-1: with itself). The least that a gRPC server
// on that library can cost. Every F-th call of a thread ends with UNAVAILABLE instead (0: none), for tests.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "arguments.h"
#include "echo_process.h"
#include "fatal.h"
#include "load/grpc_prefix.h"
#include "load/http2_connection.h"
#include "load/poller.h"
#include "sockets.h"

namespace falaj::bench {
namespace {

using load::GrpcPrefix;
using load::Http2Callbacks;
using load::Http2Connection;
using load::IsGrpcPrefix;
using load::kGrpcPrefixBytes;
using load::NewHttp2Callbacks;
using load::StaticField;

struct EchoOptions {
  int64_t reply_bytes = -1;
  int64_t fail_every = 0;
};

// What a thread has done.
struct EchoCounts {
  uint64_t calls = 0;
  uint64_t answered = 0;
};

// One call: the bytes of its DATA frames, then those of the answer's.
struct Call {
  std::vector<uint8_t> bytes;
  size_t sent = 0;
};

class EchoConnection {
 public:
  EchoConnection(FileDescriptor socket, const nghttp2_session_callbacks& callbacks,
                 const EchoOptions& options, EchoCounts& counts)
      : options_(options),
        counts_(counts),
        http2_(load::Stream(std::move(socket)), Http2Connection::Role::kServer, callbacks, this) {
    http2_.stream().Establish();  // it is accepted: it is at once
  }
  // False: the connection has ended.
  bool OnEvents(uint32_t events) {
    constexpr uint32_t kEnded = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    return ((events & EPOLLIN) == 0 || http2_.Read(false)) && http2_.Flush() && (events & kEnded) == 0;
  }

  static Http2Callbacks Callbacks();

 private:
  static EchoConnection& Of(void* user) { return *static_cast<EchoConnection*>(user); }
  void Begin(int32_t stream);
  void Answer(int32_t stream);
  static ssize_t ReadAnswer(nghttp2_session* session, int32_t stream, uint8_t* room, size_t length,
                            uint32_t* flags, nghttp2_data_source* source, void* user);

  const EchoOptions& options_;
  EchoCounts& counts_;
  std::vector<std::unique_ptr<Call>> calls_;  // all that were ever made
  std::vector<Call*> free_;
  Http2Connection http2_;  // the last to be made: it calls back
};

Http2Callbacks EchoConnection::Callbacks() {
  Http2Callbacks callbacks = NewHttp2Callbacks();
  nghttp2_session_callbacks_set_on_begin_headers_callback(
      callbacks.get(), [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        Of(user).Begin(frame->hd.stream_id);
        return 0;
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks.get(),
      [](nghttp2_session* session, uint8_t, int32_t stream, const uint8_t* data, size_t length, void*) {
        auto* const call = static_cast<Call*>(nghttp2_session_get_stream_user_data(session, stream));
        call->bytes.insert(call->bytes.end(), data, data + length);
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(
      callbacks.get(), [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        const bool carries = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
        if (carries && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) Of(user).Answer(frame->hd.stream_id);
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks.get(), [](nghttp2_session* session, int32_t stream, uint32_t, void* user) {
        auto* const call = static_cast<Call*>(nghttp2_session_get_stream_user_data(session, stream));
        if (call != nullptr) Of(user).free_.push_back(call);
        return 0;
      });
  return callbacks;
}

void EchoConnection::Begin(int32_t stream) {
  if (nghttp2_session_get_stream_user_data(http2_.session(), stream) != nullptr) return;  // trailers
  if (free_.empty()) {
    calls_.push_back(std::make_unique<Call>());
    free_.push_back(calls_.back().get());
  }
  Call* const call = free_.back();
  free_.pop_back();
  call->bytes.clear();
  call->sent = 0;
  nghttp2_session_set_stream_user_data(http2_.session(), stream, call);
}

void EchoConnection::Answer(int32_t stream) {
  static const std::array kFailure{StaticField(":status", "200"),
                                   StaticField("content-type", "application/grpc"),
                                   StaticField("grpc-status", "14")};
  nghttp2_session* const session = http2_.session();
  auto* const call = static_cast<Call*>(nghttp2_session_get_stream_user_data(session, stream));
  std::array<uint8_t, kGrpcPrefixBytes> prefix{};
  const bool framed = call->bytes.size() >= prefix.size();
  if (framed) std::copy_n(call->bytes.begin(), prefix.size(), prefix.begin());
  int error = 0;
  ++counts_.calls;
  if (!framed || !IsGrpcPrefix(prefix, call->bytes.size() - prefix.size())) {
    error = nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_PROTOCOL_ERROR);
  } else if (options_.fail_every > 0 && counts_.calls % static_cast<uint64_t>(options_.fail_every) == 0) {
    error = nghttp2_submit_response(session, stream, kFailure.data(), kFailure.size(), nullptr);
  } else {
    if (options_.reply_bytes >= 0) {
      const auto size = static_cast<size_t>(options_.reply_bytes);
      prefix = GrpcPrefix(size);
      call->bytes.resize(prefix.size() + size);
      std::copy(prefix.begin(), prefix.end(), call->bytes.begin());
    }
    nghttp2_data_provider answer{};
    answer.source.ptr = call;
    answer.read_callback = &ReadAnswer;
    error = nghttp2_submit_response(session, stream, kFailure.data(), 2, &answer);  // status and type
    ++counts_.answered;
  }
  if (error != 0) Fatal(std::string("cannot answer a call: ") + nghttp2_strerror(error));
}

ssize_t EchoConnection::ReadAnswer(nghttp2_session* session, int32_t stream, uint8_t* room, size_t length,
                                   uint32_t* flags, nghttp2_data_source* source, void*) {
  static const std::array kTrailers{StaticField("grpc-status", "0")};
  Call& call = *static_cast<Call*>(source->ptr);
  const size_t bytes = std::min(length, call.bytes.size() - call.sent);
  std::memcpy(room, call.bytes.data() + call.sent, bytes);
  call.sent += bytes;
  if (call.sent == call.bytes.size()) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, stream, kTrailers.data(), kTrailers.size()) != 0) {
      return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
  }
  return static_cast<ssize_t>(bytes);
}

// One thread: an epoll, a listening socket, and the connections that the kernel gives it.
class EchoThread {
 public:
  EchoThread(const EchoOptions& options, uint16_t& port)
      : options_(options), listener_(ListenOn("127.0.0.1", port)), wake_(eventfd(0, EFD_NONBLOCK)) {
    if (!wake_.valid()) FatalErrno("cannot make an eventfd");
    if (!poller_.Add(listener_.get(), EPOLLIN, Tag(listener_)) ||
        !poller_.Add(wake_.get(), EPOLLIN, Tag(wake_))) {
      FatalErrno("cannot wait for a socket");
    }
  }
  void Start() {
    thread_ = std::thread([this] { Run(); });
  }
  uint64_t Stop() {
    const uint64_t one = 1;
    if (write(wake_.get(), &one, sizeof(one)) != sizeof(one)) FatalErrno("cannot wake a thread");
    thread_.join();
    return counts_.answered;
  }

 private:
  static uint64_t Tag(const FileDescriptor& fd) { return static_cast<uint64_t>(fd.get()); }

  void Run() {
    while (true) {
      for (const epoll_event& event : poller_.Wait(std::chrono::nanoseconds(-1))) {
        if (event.data.u64 == Tag(wake_)) return;
        if (event.data.u64 == Tag(listener_)) {
          Accept();
          continue;
        }
        const auto found = connections_.find(event.data.u64);
        if (found != connections_.end() && !found->second->OnEvents(event.events)) connections_.erase(found);
      }
    }
  }

  void Accept() {
    for (FileDescriptor socket = AcceptFrom(listener_); socket.valid(); socket = AcceptFrom(listener_)) {
      const uint64_t tag = Tag(socket);
      connections_[tag] = std::make_unique<EchoConnection>(std::move(socket), *callbacks_, options_, counts_);
      if (!poller_.Add(static_cast<int>(tag), tag)) FatalErrno("cannot wait for a socket");
    }
  }

  const EchoOptions options_;
  const Http2Callbacks callbacks_ = EchoConnection::Callbacks();
  FileDescriptor listener_;
  FileDescriptor wake_;
  load::Poller poller_;
  EchoCounts counts_;  // the thread's until it is joined
  std::unordered_map<uint64_t, std::unique_ptr<EchoConnection>> connections_;  // by descriptor
  std::thread thread_;
};

}  // namespace
}  // namespace falaj::bench

int main(int argc, char** argv) {
  using namespace falaj::bench;
  const Arguments arguments(argc, argv, {"threads", "port", "reply-bytes", "fail-every"});
  const EchoOptions options{arguments.Integer("reply-bytes", -1, -1), arguments.Integer("fail-every", 0, 0)};
  auto port = static_cast<uint16_t>(arguments.Integer("port", 0, 0));
  HoldSignals();
  std::vector<std::unique_ptr<EchoThread>> threads;
  for (int64_t i = arguments.Integer("threads", 2, 1); i > 0; --i) {
    threads.push_back(std::make_unique<EchoThread>(options, port));
  }
  for (const auto& thread : threads) thread->Start();
  ServeUntilSignal("grpc", port);
  uint64_t answered = 0;
  for (const auto& thread : threads) answered += thread->Stop();
  AnnounceStopped(answered);
  return 0;
}

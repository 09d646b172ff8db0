// beast_echo --threads N --port P --reply-bytes B: Boost.Beast and nothing else. It reads each request whole
// and answers 200 with the same B bytes. The least that an HTTP server on that library can cost.
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "arguments.h"
#include "echo_process.h"
#include "sockets.h"

namespace falaj::bench {
namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using net::ip::tcp;
constexpr size_t kReadBytes = 64 * 1024;
// The executor is named, so that no call goes through a type-erased one.
using Socket = net::basic_stream_socket<tcp, net::io_context::executor_type>;
using Acceptor = net::basic_socket_acceptor<tcp, net::io_context::executor_type>;

// Owned by the operation that it waits for.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, size_t reply_bytes, uint64_t* answered)
      : socket_(std::move(socket)), answered_(answered) {
    buffer_.reserve(kReadBytes);  // Beast reads no more at a time than this has, 512 bytes at first
    reply_.set(http::field::content_type, "application/json");
    reply_.body().assign(reply_bytes, 'x');
    reply_.prepare_payload();
  }

  void Read() {
    parser_.emplace();
    // Not boost::none: with it Boost 1.74 refuses every body.
    parser_->body_limit(std::numeric_limits<uint64_t>::max());
    http::async_read(socket_, buffer_, *parser_,
                     [self = shared_from_this()](const boost::system::error_code& error, size_t) {
                       if (!error) self->Write();
                     });
  }

 private:
  void Write() {
    ++*answered_;  // before the client can see the answer, and end this process
    http::async_write(socket_, reply_,
                      [self = shared_from_this()](const boost::system::error_code& error, size_t) {
                        if (!error) self->Read();
                      });
  }

  Socket socket_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> reply_;
  uint64_t* const answered_;
};

// One thread: an event loop, a listening socket, and the connections that the kernel gives it.
class EchoThread {
 public:
  EchoThread(size_t reply_bytes, uint16_t& port) : acceptor_(context_), reply_bytes_(reply_bytes) {
    const FileDescriptor listener = ListenOn("127.0.0.1", port);
    acceptor_.assign(tcp::v4(), dup(listener.get()));  // which closes it; ours is closed here
    Accept();
  }
  void Start() {
    thread_ = std::thread([this] { context_.run(); });
  }
  uint64_t Stop() {
    context_.stop();
    thread_.join();
    return answered_;
  }

 private:
  void Accept() {
    acceptor_.async_accept([this](const boost::system::error_code& error, Socket socket) {
      if (error) return;
      boost::system::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      std::make_shared<Connection>(std::move(socket), reply_bytes_, &answered_)->Read();
      Accept();
    });
  }

  uint64_t answered_ = 0;       // the thread's until it is joined
  net::io_context context_{1};  // one thread runs it
  Acceptor acceptor_;
  const size_t reply_bytes_;
  std::thread thread_;
};

}  // namespace
}  // namespace falaj::bench

int main(int argc, char** argv) {
  using namespace falaj::bench;
  const Arguments arguments(argc, argv, {"threads", "port", "reply-bytes"});
  const auto reply_bytes = static_cast<size_t>(arguments.Integer("reply-bytes", 120, 0));
  auto port = static_cast<uint16_t>(arguments.Integer("port", 0, 0));
  HoldSignals();
  std::vector<std::unique_ptr<EchoThread>> threads;
  for (int64_t i = arguments.Integer("threads", 2, 1); i > 0; --i) {
    threads.push_back(std::make_unique<EchoThread>(reply_bytes, port));
  }
  for (const auto& thread : threads) thread->Start();
  ServeUntilSignal("http", port);
  uint64_t answered = 0;
  for (const auto& thread : threads) answered += thread->Stop();
  AnnounceStopped(answered);
  return 0;
}

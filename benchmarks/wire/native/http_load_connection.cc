#include <sys/socket.h>

#include <cerrno>

#include "http_response.h"
#include "load_connection.h"

namespace falaj::bench {
namespace {

constexpr size_t kInputBytes = 64 * 1024;

std::string RequestOf(const LoadTarget& target) {
  std::string text = "POST " + target.path + " HTTP/1.1\r\nHost: " + target.host + "\r\n";
  for (const auto& [name, value] : target.headers) text += name + ": " + value + "\r\n";
  return text + "Content-Length: " + std::to_string(target.body.size()) + "\r\n\r\n" + target.body;
}

class HttpConnection final : public LoadConnection {
 public:
  HttpConnection(FileDescriptor socket, const LoadTarget& target, AnswerSink& sink)
      : socket_(std::move(socket)),
        request_(RequestOf(target)),
        body_at_(request_.size() - target.body.size()),
        number_(target.varied),
        sink_(sink),
        written_(request_.size()),
        input_(kInputBytes) {}

  int fd() const override { return socket_.get(); }
  size_t under_way() const override { return waiting_ ? 1 : 0; }
  bool HasRoom() const override { return !waiting_; }
  const char* problem() const override { return problem_; }

  void Send(TimePoint since) override {
    since_ = since;
    waiting_ = true;
    written_ = 0;
    number_.Write(request_, body_at_);
  }

  bool Flush() override {
    while (written_ < request_.size()) {
      const ssize_t count =
          send(socket_.get(), request_.data() + written_, request_.size() - written_, MSG_NOSIGNAL);
      if (count < 0) return errno == EAGAIN || Broken(kClosed);
      written_ += static_cast<size_t>(count);
    }
    return true;
  }

  bool OnEvents(uint32_t events) override {
    if ((events & EPOLLIN) != 0 && !Read()) return false;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) return Broken(kClosed);
    return Flush();
  }

 private:
  bool Broken(const char* problem) {
    problem_ = problem;
    return false;
  }

  bool Read() {
    while (true) {
      const ssize_t count = recv(socket_.get(), input_.data(), input_.size(), 0);
      if (count < 0) return errno == EAGAIN || Broken(kClosed);
      if (count == 0) return Broken(kClosed);
      const auto bytes = static_cast<size_t>(count);
      if (!Take({input_.data(), bytes})) return false;
      // Less than was asked for: the rest is a new edge.
      if (bytes < input_.size()) return true;
    }
  }

  bool Take(std::string_view bytes) {
    if (!waiting_) return Broken("an answer came that nobody asked for");
    bytes.remove_prefix(response_.Take(bytes));
    if (response_.state() == HttpResponse::State::kMalformed) return Broken(response_.problem());
    if (response_.state() != HttpResponse::State::kComplete) return true;
    if (!bytes.empty()) return Broken("bytes come after an answer's Content-Length");
    if (written_ < request_.size()) return Broken("an answer came before the request was sent");
    const bool good = response_.status() == 200;
    waiting_ = false;
    sink_.OnAnswer({since_, response_.body_bytes(), good ? nullptr : Status()});
    response_.Clear();
    return true;
  }

  const char* Status() {
    status_text_ = "the status of an answer is " + std::to_string(response_.status());
    return status_text_.c_str();
  }

  const FileDescriptor socket_;
  std::string request_;
  const size_t body_at_;  // in request_
  NumberWriter number_;
  AnswerSink& sink_;
  size_t written_;  // of request_
  bool waiting_ = false;
  TimePoint since_;
  HttpResponse response_;
  std::vector<char> input_;
  std::string status_text_;
  const char* problem_ = "";
};

}  // namespace

std::unique_ptr<LoadConnection> MakeHttpConnection(FileDescriptor socket, const LoadTarget& target,
                                                   AnswerSink& sink) {
  return std::make_unique<HttpConnection>(std::move(socket), target, sink);
}

}  // namespace falaj::bench

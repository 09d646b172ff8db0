#include <sys/epoll.h>

#include <utility>
#include <vector>

#include "load/connection.h"
#include "load/http_response.h"

namespace falaj::load {
namespace {

constexpr size_t kInputBytes = 64 * 1024;
constexpr int kOk = 200;

class HttpConnection final : public Connection {
 public:
  HttpConnection(Stream stream, RequestSource requests, AnswerSink& sink)
      : stream_(std::move(stream)),
        requests_(std::move(requests)),
        sink_(sink),
        response_(requests_.target().options().keep),
        input_(kInputBytes) {}

  int fd() const override { return stream_.fd(); }
  bool is_open() const override { return stream_.is_open(); }
  size_t under_way() const override { return waiting_ ? 1 : 0; }
  bool HasRoom() const override { return !waiting_ && stream_.is_open(); }
  const End& end() const override { return end_; }

  void AddUnderWay(std::vector<size_t>& indices) const override {
    if (waiting_) indices.push_back(sequence_);
  }

  void Send(TimePoint since, TimePoint now, const Mark& mark) override {
    since_ = since;
    sent_ = now;
    waiting_ = true;
    sequence_ = mark.index;
    request_ = requests_.Next(mark, 0, own_);
  }

  bool Flush() override {
    while (!request_.empty()) {
      const ssize_t count = stream_.Write(request_);
      if (count < 0) return Broken();
      if (count == 0) return true;
      request_.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  bool OnEvents(uint32_t events) override {
    if (!stream_.is_open()) {
      if (!stream_.Establish()) return Broken();
      if (!stream_.is_open()) return true;
    }
    const bool ends = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if ((ends || (events & EPOLLIN) != 0) && !Read(ends)) return false;
    return Flush();
  }

  bool Expire(TimePoint sent_before) override {
    if (!waiting_ || sent_ >= sent_before) return true;
    Tell({.since = since_,
          .failure = ErrorKind{Failure::kTimeout},
          .text = "a request was not answered in time",
          .sequence = sequence_});
    return false;  // its answer may still come
  }

 private:
  bool Broken() { return Broken(stream_.failure(), stream_.problem()); }
  bool Broken(ErrorKind failure, std::string text) {
    end_ = {failure, std::move(text)};
    return false;
  }
  bool Malformed(const char* text) { return Broken({Failure::kMalformed}, text); }

  // Until the socket has no more. `ends`: its end has been told, and is found behind what came before it.
  bool Read(bool ends) {
    while (true) {
      const ssize_t count = stream_.Read(input_);
      if (count < 0) return Broken();
      if (count == 0) return true;
      const auto bytes = static_cast<size_t>(count);
      if (!Take({input_.data(), bytes})) return false;
      // Less than was asked for: the rest is a new edge.
      if (bytes < input_.size() && stream_.drains() && !ends) return true;
    }
  }

  bool Take(std::string_view bytes) {
    if (!waiting_) return Malformed("an answer came that nobody asked for");
    bytes.remove_prefix(response_.Take(bytes));
    if (response_.state() == HttpResponse::State::kMalformed) return Malformed(response_.problem());
    if (response_.state() != HttpResponse::State::kComplete) return true;
    if (!bytes.empty()) return Malformed("bytes come after an answer's Content-Length");
    const bool sent = request_.empty();
    const bool closes = response_.closes();
    const int status = response_.status();
    if (!sent && status == kOk) return Malformed("an answer came before the request was sent");
    Answer answer{.since = since_,
                  .status = status,
                  .bytes = response_.body_bytes(),
                  .body = response_.body(),
                  .sequence = sequence_};
    std::string text;
    if (status != kOk) {
      answer.failure = ErrorKind{Failure::kHttpStatus, status};
      answer.text = text = "the status of an answer is " + std::to_string(status);
    }
    Tell(answer);
    response_.Clear();
    // A request of which a part is not sent cannot be taken back.
    return sent && !closes;
  }

  void Tell(const Answer& answer) {
    waiting_ = false;
    sink_.OnAnswer(answer);
  }

  Stream stream_;
  RequestSource requests_;
  AnswerSink& sink_;
  OwnRequest own_;
  std::string_view request_;  // what is not yet written of it
  bool waiting_ = false;
  TimePoint since_;
  TimePoint sent_;
  size_t sequence_ = 0;
  HttpResponse response_;
  std::vector<char> input_;
  End end_;
};

}  // namespace

std::unique_ptr<Connection> MakeHttpConnection(Stream stream, RequestSource requests, AnswerSink& sink) {
  return std::make_unique<HttpConnection>(std::move(stream), std::move(requests), sink);
}

}  // namespace falaj::load

#include "load/exchange.h"

#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>

#include "load/blocked_sigpipe.h"
#include "load/connection.h"
#include "load/poller.h"

namespace falaj::load {
namespace {

class OneAnswer final : public AnswerSink {
 public:
  void OnAnswer(const Answer& answer) override {
    reply_.status = answer.status;
    if (!answer.failure) {
      bytes_ = answer.bytes;
      reply_.body = answer.body;
    } else if (answer.failure->failure == Failure::kHttpStatus) {
      reply_.status = answer.failure->code;
      reply_.body = answer.body;
    } else if (answer.failure->failure == Failure::kGrpcStatus && answer.failure->code >= 0) {
      reply_.text = answer.body;
    } else {
      problem_ = answer.text;
    }
    done_ = true;
  }

  bool done() const { return done_; }
  Result<Reply> Taken(size_t most) && {
    if (!problem_.empty()) return Unavailable(problem_);
    if (bytes_ > most) {
      return Unavailable("an answer has " + std::to_string(bytes_) + " bytes, expected at most " +
                         std::to_string(most));
    }
    return std::move(reply_);
  }

 private:
  bool done_ = false;
  size_t bytes_ = 0;
  Reply reply_;
  std::string problem_;
};

Result<Reply> Ask(const std::shared_ptr<const Target>& target, TimePoint end) {
  OneAnswer answer;
  Poller poller;
  FileDescriptor socket = BeginConnecting(target->address());
  if (!socket.valid() || !poller.valid() || !poller.Add(socket.get(), 0))
    return Unavailable(std::strerror(errno));
  TlsHandle tls = target->NewTlsOn(socket.get());
  if (tls == nullptr && target->options().tls) return Unavailable("no memory is left for TLS");
  Stream stream(std::move(socket), std::move(tls));
  RequestSource requests(target, 0);
  const auto connection = target->options().protocol == Protocol::kHttp
                              ? MakeHttpConnection(std::move(stream), std::move(requests), answer)
                              : MakeGrpcConnection(std::move(stream), std::move(requests), 1, answer);
  bool asked = false;
  while (true) {
    const TimePoint now = std::chrono::steady_clock::now();
    if (now >= end) return Unavailable("no answer in time");
    for (const epoll_event& event : poller.Wait(end - now)) {
      bool alive = connection->OnEvents(event.events);
      if (alive && !asked && connection->HasRoom()) {
        asked = true;
        connection->Send(now, now, {});
        alive = connection->Flush();
      }
      if (answer.done()) return std::move(answer).Taken(target->options().keep);
      if (alive) continue;
      const std::string& why = connection->end().text;
      return Unavailable(why.empty() ? "the server closed the connection" : why);
    }
  }
}

}  // namespace

Result<Reply> Exchange(const std::shared_ptr<const Target>& target, Nanos timeout) {
  Result<Reply> reply = Unavailable("");
  std::thread([&] {
    const BlockedSigpipe blocked;
    reply = Ask(target, std::chrono::steady_clock::now() + timeout);
  }).join();
  if (reply.ok()) return reply;
  return Unavailable(target->authority() + ": " + reply.status().message());
}

}  // namespace falaj::load

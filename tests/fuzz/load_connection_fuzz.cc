// Whatever a server answers, in whatever pieces: each request is told once or is under way at the end, what
// is kept is bounded, and an answer of HTTP comes to the same in one piece as in many.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "load/connection.h"
#include "load/http_response.h"

namespace falaj::load {
namespace {

constexpr size_t kKeep = 64;
constexpr size_t kMostKept = 4096;  // texts of ours, of nghttp2, and of the server

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

class Counting final : public AnswerSink {
 public:
  void OnAnswer(const Answer& answer) override {
    ++told;
    errors.Add(answer.failure.value_or(ErrorKind{Failure::kLength}), answer.text, answer.body);
    Check(answer.body.size() + answer.text.size() <= kMostKept, "more was kept than is bounded");
  }
  size_t told = 0;
  ErrorCounts errors;
};

std::shared_ptr<const Target> MakeTarget(Protocol protocol) {
  TargetOptions options;
  options.protocol = protocol;
  options.host = "127.0.0.1";
  options.port = 1;
  options.path = "/";
  options.payloads = {{{}, "request"}};
  options.keep = kKeep;
  return *Target::Make(std::move(options));
}

// What the connection wrote is read away, so that it never finds the socket full.
void ReadAway(int peer) {
  std::array<char, 65536> room{};
  while (recv(peer, room.data(), room.size(), MSG_DONTWAIT) > 0) {
  }
}

void Talk(Protocol protocol, std::string_view bytes, size_t piece, size_t streams) {
  static const auto http = MakeTarget(Protocol::kHttp);
  static const auto grpc = MakeTarget(Protocol::kGrpc);
  std::array<int, 2> pair{};
  Check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair.data()) == 0, "no sockets are left");
  const FileDescriptor peer(pair[1]);
  Counting sink;
  Stream stream{FileDescriptor(pair[0])};
  const auto connection = protocol == Protocol::kHttp
                              ? MakeHttpConnection(std::move(stream), RequestSource(http, 0), sink)
                              : MakeGrpcConnection(std::move(stream), RequestSource(grpc, 0), streams, sink);
  size_t sent = 0;
  bool alive = connection->OnEvents(EPOLLOUT);
  const TimePoint now{};
  while (alive) {
    for (; connection->HasRoom(); ++sent) connection->Send(now, now, {});
    alive = connection->Flush();
    ReadAway(peer.get());
    if (!alive || bytes.empty()) break;
    const ssize_t written = send(peer.get(), bytes.data(), std::min(piece, bytes.size()), MSG_NOSIGNAL);
    if (written <= 0) break;
    bytes.remove_prefix(static_cast<size_t>(written));
    alive = connection->OnEvents(EPOLLIN);
  }
  if (alive) {
    alive = connection->Expire(now + std::chrono::seconds(1));
    shutdown(peer.get(), SHUT_WR);
    if (alive) connection->OnEvents(EPOLLIN | EPOLLRDHUP);
  }
  // A call that was given up is told, and under way until the server has heard of it.
  Check(sink.told <= sent && sink.told + connection->under_way() >= sent, "a request was lost or told twice");
}

void CheckPieces(std::string_view bytes, size_t piece) {
  HttpResponse whole(kKeep), parts(kKeep);
  const size_t taken = whole.Take(bytes);
  size_t fed = 0;
  while (fed < bytes.size()) {
    const std::string_view next = bytes.substr(fed, piece);
    const size_t took = parts.Take(next);
    fed += took;
    if (took < next.size()) break;
  }
  // Where a head or line is too long is found at the end of a piece.
  if (whole.state() == HttpResponse::State::kMalformed || parts.state() == HttpResponse::State::kMalformed)
    return;
  Check(fed == taken, "pieces end elsewhere");
  Check(whole.state() == parts.state() && whole.body() == parts.body(), "pieces are another answer");
}

}  // namespace
}  // namespace falaj::load

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace falaj::load;
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Protocol protocol = data[0] % 2 == 0 ? Protocol::kHttp : Protocol::kGrpc;
  const size_t piece = data[1] == 0 ? SIZE_MAX : data[1];
  Talk(protocol, bytes, piece, 1 + data[0] / 2 % 4U);
  if (protocol == Protocol::kHttp) CheckPieces(bytes, piece);
  return 0;
}

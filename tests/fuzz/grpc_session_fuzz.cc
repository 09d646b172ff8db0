// Whatever a client sends, in whatever pieces: the session goes on, or ends, and keeps nothing in the end.
//
// An input is three bytes of choices and then what the client sends. Byte 0: 0 those bytes as they are, 1 the
// same behind HTTP/2's preface, 2 and above (modulo 4) as frames whose lengths are right, each as type,
// flags, stream, two bytes of length, payload. Byte 1: the size of the pieces, 0 for one. Byte 2: see
// Choices.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "fakes/fake_host.h"
#include "wire/grpc_session.h"

namespace falaj::wire {
namespace {

constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
constexpr size_t kMostBuffered = 1 << 20;

struct Choices {
  bool drains = false;         // halfway
  bool input_ends = false;     // after the last piece
  bool socket_blocks = false;  // takes nothing until the end
  bool time_passes = false;    // seconds between two pieces
  bool waits = false;          // answers come only after the last piece
  bool breaks = false;         // the connection is lost with requests under way
};

WireOptions Options() {
  WireOptions options;
  options.max_buffered_bytes = kMostBuffered;
  options.max_requests_in_flight = 64;
  options.grpc.max_message_bytes = 64 * 1024;
  options.grpc.max_concurrent_streams = 16;
  options.grpc.max_requests_per_stream = 4;
  options.grpc.max_metadata_bytes = 1024;
  options.grpc.stream_window_bytes = 8 * 1024;
  options.grpc.connection_window_bytes = 64 * 1024;
  options.grpc.max_resets_per_second = 4;
  options.grpc.max_control_frames_per_second = 12;
  options.grpc.keepalive_interval = std::chrono::seconds(10);
  options.grpc.keepalive_timeout = std::chrono::seconds(10);
  options.access_log_per_million = 500'000;
  return options;
}

BatcherOptions Model() {
  BatcherOptions model = test::DefaultOptions({test::Spec("x", {-1, -1})}, {test::Spec("y", {-1, -1})});
  model.run_on_submitter = true;
  return model;
}

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

std::string Frames(std::string_view input) {
  std::string frames;
  while (input.size() >= 5) {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(input[i]); };
    const size_t length = std::min<size_t>(size_t{byte(3)} << 8 | byte(4), input.size() - 5);
    frames.push_back('\0');
    frames.push_back(static_cast<char>(length >> 8));
    frames.push_back(static_cast<char>(length));
    frames.append(input.substr(0, 2));
    frames.append(3, '\0').append(1, input[2]);
    frames.append(input.substr(5, length));
    input.remove_prefix(5 + length);
  }
  return frames;
}

// Answers what the control plane was asked, in one part or, by what was asked, in several and one later.
void ReplyToAll(test::FakeHost& host, bool last) {
  auto asked = std::exchange(host.asked(), {});
  for (auto& [id, request] : asked) {
    ControlReply reply;
    reply.id = id;
    const size_t kind = request.body.size() % 4;
    reply.has_body = kind != 3;
    reply.body.assign(kind == 2 ? 40'000 : kind, 'x');
    reply.last = last || kind != 1;
    reply.status = kind == 3 ? static_cast<int>(request.body.size() / 4) : 0;
    reply.message = request.target;
    reply.headers = request.headers;
    if (!reply.last) host.asked().emplace_back(id, std::move(request));
    host.Reply(std::move(reply));
  }
}

size_t Write(GrpcSession& session) {
  const std::string output = test::Drain(session, 10'000);
  Check(session.Finished() || session.WantsInput(), "writes nothing, reads nothing, and does not end");
  return output.size();
}

void Talk(test::FakeHost& host, std::string_view input, size_t piece, const Choices& choices) {
  static GrpcCodec codec{CodecLimits{.max_tensors = 16, .max_depth = 16, .max_name_bytes = 64}};
  test::FakeCarrier carrier;
  GrpcSession session(host, carrier, Peer{"192.0.2.1", 1, false, ""}, std::make_shared<ClientHoldings>(),
                      codec);
  bool drained = !choices.drains;
  for (size_t fed = 0; fed < input.size();) {
    const size_t now = test::Feed(session, input.substr(fed, piece), piece);
    fed += now;
    if (!choices.waits) {
      host.DeliverAll();
      ReplyToAll(host, false);
    }
    if (choices.time_passes) host.Advance(std::chrono::seconds(7));
    session.Tick();
    if (!drained && fed * 2 > input.size()) {
      session.Drain();
      drained = true;
    }
    Check(host.shares().buffered_bytes() <= static_cast<int64_t>(kMostBuffered), "buffers more than it may");
    size_t wrote = 0;
    if (choices.socket_blocks) {
      std::array<iovec, 4> pieces;
      session.Output(pieces);
    } else {
      wrote = Write(session);
    }
    if (session.Finished() || (now == 0 && wrote == 0)) break;
  }
  if (choices.breaks) return;
  if (choices.input_ends) session.InputEnded();
  do {
    host.DeliverAll();
    ReplyToAll(host, true);
    session.Tick();
  } while (Write(session) > 0);
}

}  // namespace
}  // namespace falaj::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace falaj;        // NOLINT(google-build-using-namespace)
  using namespace falaj::wire;  // NOLINT(google-build-using-namespace)
  static test::FakeHost host(Options(), Model());
  if (size < 3 || size > 32 * 1024) return 0;
  const std::string_view sent(reinterpret_cast<const char*>(data) + 3, size - 3);
  std::string input;
  if (data[0] % 4 > 0) input = kPreface;
  input += data[0] % 4 > 1 ? Frames(sent) : std::string(sent);
  const auto chosen = [&](int bit) { return (data[2] >> bit & 1) != 0; };
  const Choices choices{chosen(0), chosen(1), chosen(2), chosen(3), chosen(4), chosen(5)};
  Talk(host, input, data[1] == 0 ? SIZE_MAX : data[1], choices);
  host.DeliverAll();
  host.ClearRecords();
  Check(host.shares().requests() == 0, "a request is still counted");
  Check(host.shares().buffered_bytes() == 0, "bytes are still counted");
  return 0;
}

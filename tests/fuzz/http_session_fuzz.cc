// Whatever a client sends, in whatever pieces: the same answers, all of them HTTP, and nothing kept in the
// end.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "fakes/fake_host.h"
#include "wire/http_session.h"

namespace falaj::wire {
namespace {

WireOptions Options() {
  WireOptions options;
  options.http.max_header_bytes = 1024;
  options.http.max_body_bytes = 4096;
  options.http.max_pipelined_bytes = 512;
  return options;
}

BatcherOptions Model() {
  BatcherOptions model = test::DefaultOptions({test::Spec("x", {-1, 2})}, {test::Spec("y", {-1, 2})});
  model.run_on_submitter = true;
  return model;
}

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// Answers what the control plane was asked: with a length, or without.
void ReplyToAll(test::FakeHost& host) {
  auto asked = std::exchange(host.asked(), {});
  for (const auto& [id, request] : asked) {
    ControlReply head;
    head.id = id;
    head.head = true;
    head.status = 200;
    if (request.target.size() % 2 == 0) head.headers = {{"content-length", "2"}};
    ControlReply body;
    body.id = id;
    body.body = "ok";
    body.last = true;
    host.Reply(std::move(head));
    host.Reply(std::move(body));
  }
}

std::string Talk(test::FakeHost& host, std::string_view input, size_t piece) {
  static HttpCodec codec{CodecLimits{}};
  test::FakeCarrier carrier;
  auto holdings = std::make_shared<ClientHoldings>();
  HttpSession session(host, carrier, Peer{"192.0.2.1", 1, false, ""}, holdings, codec, Listener::kHttp);
  std::string output;
  size_t fed = 0;
  while (true) {
    fed += test::Feed(session, input.substr(fed, piece), piece);
    host.DeliverAll();
    ReplyToAll(host);
    session.Tick();
    const size_t before = output.size();
    output += test::Drain(session);
    if (session.Finished() || (fed == input.size() && output.size() == before)) break;
    Check(session.WantsInput() || output.size() > before, "neither reads, nor writes, nor ends");
  }
  return output;
}

// What may depend on how much had come when it was looked at: whether the body was asked for, and which of
// several faults was seen first by a connection that is sent away.
std::string Comparable(std::string text) {
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  for (size_t at = text.find(kContinue); at != std::string::npos; at = text.find(kContinue, at)) {
    text.erase(at, kContinue.size());
  }
  const size_t last = text.rfind("HTTP/1.1 4");
  if (last != std::string::npos && text.find("connection: close\r\n", last) != std::string::npos) {
    text.replace(last, std::string::npos, "refused");
  }
  return text;
}

}  // namespace
}  // namespace falaj::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace falaj;        // NOLINT(google-build-using-namespace)
  using namespace falaj::wire;  // NOLINT(google-build-using-namespace)
  static test::FakeHost host(Options(), Model());
  if (size == 0 || size > 16 * 1024) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = Comparable(Talk(host, input, SIZE_MAX));
  const std::string pieces = Comparable(Talk(host, input, size_t{1} + data[0]));
  if (whole != pieces) std::fprintf(stderr, "whole:\n%s\npieces:\n%s\n", whole.c_str(), pieces.c_str());
  Check(whole == pieces, "the answers depend on how the bytes were cut");
  Check(whole.empty() || whole == "refused" || whole.starts_with("HTTP/1.1 "), "not HTTP");
  Check(host.shares().requests() == 0, "a request is still counted");
  Check(host.shares().buffered_bytes() == 0, "bytes are still counted");
  return 0;
}

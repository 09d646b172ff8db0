// An HTTP session without a network, and the requests that its tests feed it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "fakes/fake_host.h"
#include "wire/http_session.h"

namespace falaj::wire::test {

using falaj::test::Drain;
using falaj::test::FakeCarrier;
using falaj::test::FakeHost;
using falaj::test::Feed;

inline constexpr std::string_view kJson =
    R"({"id":"7","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2.5]}]})";
inline constexpr std::string_view kReply =
    R"({"model_name":"m","model_version":"3","id":"7","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[3,6]}]})";

inline std::string Post(std::string_view target, std::string_view body, std::string_view fields = "") {
  return "POST " + std::string(target) + " HTTP/1.1\r\nHost: h\r\n" + std::string(fields) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
inline std::string Infer(std::string_view fields = "") { return Post("/v2/models/m/infer", kJson, fields); }

inline WireOptions Small() {
  WireOptions options;
  options.http.max_header_bytes = 512;
  options.http.max_body_bytes = 4096;
  options.http.max_pipelined_bytes = 1024;
  return options;
}

class HttpSessionTest : public testing::Test {
 protected:
  explicit HttpSessionTest(WireOptions options = Small()) : host(std::move(options)) { Connect(); }
  void Connect(Listener listener = Listener::kHttp) {
    session = std::make_unique<HttpSession>(host, carrier, Peer{"192.0.2.1", 4242, false, ""}, holdings,
                                            codec, listener);
  }
  // Answers one infer request and returns what is then written.
  std::string Answer() {
    host.Deliver(1);
    return Drain(*session);
  }
  ControlReply Head(int status, Fields headers) {
    ControlReply reply;
    reply.id = host.asked().back().first;
    reply.head = true;
    reply.status = status;
    reply.headers = std::move(headers);
    return reply;
  }
  ControlReply Body(std::string body, bool last) {
    ControlReply reply;
    reply.id = host.asked().back().first;
    reply.body = std::move(body);
    reply.last = last;
    return reply;
  }
  uint64_t Refused(Refusal why) { return host.counters(Wire::kHttp).refused[static_cast<size_t>(why)].Get(); }

  FakeHost host;
  FakeCarrier carrier;
  HttpCodec codec{CodecLimits{}};
  std::shared_ptr<ClientHoldings> holdings = std::make_shared<ClientHoldings>();
  std::unique_ptr<HttpSession> session;
};

}  // namespace falaj::wire::test

// A gRPC session on a host with one model, and a client of it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fakes/fake_host.h"
#include "wire/grpc_client.h"
#include "wire/grpc_session.h"
#include "wire/infer_messages.h"

namespace falaj::wire::test {

// An infer request of one row to the model of FakeHost.
inline std::string InferMessage(std::initializer_list<float> row, std::string_view id = "7",
                                std::string_view model = "m") {
  const auto columns = static_cast<int64_t>(row.size());
  return Model(model) + Id(id) + Input("x", "FP32", {1, columns}) + Raw(Lying(row));
}

// Of ModelInferResponse, or of ModelStreamInferResponse around it.
struct InferResult {
  std::string id;
  std::string error;  // of a stream's error_message
  std::vector<float> values;
};
inline InferResult ReadResult(std::string_view message, bool of_stream = false) {
  InferResult result;
  ProtobufReader reader(std::as_bytes(std::span(message)));
  ProtobufField field;
  while (reader.Next(field)) {
    const std::string_view text(reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size());
    if (of_stream && field.tag == TagOf(2, WireType::kBytes)) {
      const std::string error = std::move(result.error);
      result = ReadResult(text);
      result.error = error;
    } else if (of_stream && field.tag == TagOf(1, WireType::kBytes)) {
      result.error = text;
    } else if (field.tag == TagOf(3, WireType::kBytes)) {
      result.id = text;
    } else if (field.tag == TagOf(6, WireType::kBytes)) {
      result.values.resize(field.bytes.size() / sizeof(float));
      std::memcpy(result.values.data(), field.bytes.data(), result.values.size() * sizeof(float));
    }
  }
  EXPECT_EQ(reader.fault(), nullptr);
  return result;
}

class GrpcSessionFixture : public testing::Test {
 protected:
  explicit GrpcSessionFixture(WireOptions options = {},
                              BatcherOptions model = falaj::test::DefaultOptions(
                                  {falaj::test::Spec("x", {-1, 2})}, {falaj::test::Spec("y", {-1, 2})}))
      : host(std::move(options), std::move(model)) {
    Connect();
  }
  void Connect(GrpcClient::Options options = {}) {
    session.reset();
    session =
        std::make_unique<GrpcSession>(host, carrier, Peer{"192.0.2.1", 4242, false, ""}, holdings, codec);
    client = std::make_unique<GrpcClient>(options);
  }
  void Exchange(size_t piece = SIZE_MAX) { client->Exchange(*session, piece); }
  // Answers `count` infer requests and lets the client have them.
  void Answer(int count = 1) {
    host.Deliver(count);
    Exchange();
  }
  void Pass(Nanos time) {
    host.Advance(time);
    session->Tick();
    Exchange();
  }
  ControlReply Reply(std::optional<std::string> body, std::optional<int> status, std::string text = "") {
    ControlReply reply;
    reply.id = host.asked().back().first;
    reply.has_body = body.has_value();
    reply.body = body.value_or("");
    reply.last = status.has_value();
    reply.status = status.value_or(0);
    reply.message = std::move(text);
    return reply;
  }
  std::vector<InferResult> StreamResults(int32_t id) {
    std::vector<InferResult> results;
    for (const std::string& message : client->answer(id).messages()) {
      results.push_back(ReadResult(message, /*of_stream=*/true));
    }
    return results;
  }
  const WireCounters& counters() { return host.counters(Wire::kGrpc); }
  uint64_t Refused(Refusal why) { return counters().refused[static_cast<size_t>(why)].Get(); }

  falaj::test::FakeHost host;
  falaj::test::FakeCarrier carrier;
  GrpcCodec codec{CodecLimits{}};
  std::shared_ptr<ClientHoldings> holdings = std::make_shared<ClientHoldings>();
  std::unique_ptr<GrpcSession> session;
  std::unique_ptr<GrpcClient> client;
};

// The same with rows of any length.
class GrpcWideFixture : public GrpcSessionFixture {
 protected:
  explicit GrpcWideFixture(WireOptions options = {})
      : GrpcSessionFixture(std::move(options),
                           falaj::test::DefaultOptions({falaj::test::Spec("x", {-1, -1})},
                                                       {falaj::test::Spec("y", {-1, -1})})) {}
};
// A row of zeros.
inline std::string WideMessage(size_t columns, std::string_view id = "") {
  return Model("m") + Id(id) + Input("x", "FP32", {1, static_cast<int64_t>(columns)}) +
         Raw(std::string(columns * sizeof(float), '\0'));
}

}  // namespace falaj::wire::test

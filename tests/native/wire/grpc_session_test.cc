#include "wire/grpc_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/grpc_session_fixture.h"

namespace falaj::wire {
namespace {

using test::Framed;
using test::GrpcAnswer;
using test::GrpcClient;
using test::InferMessage;
using test::kInferPath;
using test::kStreamPath;
using test::ReadResult;
using testing::ElementsAre;
using testing::HasSubstr;

using GrpcSessionTest = test::GrpcSessionFixture;
using GrpcWideTest = test::GrpcWideFixture;
using test::WideMessage;

TEST_F(GrpcSessionTest, AnswersInferWhenItsBytesComeInAnyPieces) {
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{100}, SIZE_MAX}) {
    Connect();
    const int32_t id = client->Call(kInferPath, InferMessage({1, 2.5f}));
    Exchange(piece);
    host.Deliver(1);
    Exchange(piece);
    const GrpcAnswer& answer = client->answer(id);
    EXPECT_EQ(answer.head.at(":status"), "200");
    EXPECT_EQ(answer.head.at("content-type"), "application/grpc");
    EXPECT_EQ(answer.status(), 0);
    EXPECT_TRUE(answer.ended);
    ASSERT_EQ(answer.messages().size(), 1u);
    const auto result = ReadResult(answer.messages()[0]);
    EXPECT_EQ(result.id, "7");
    EXPECT_THAT(result.values, ElementsAre(3, 6));
  }
  EXPECT_EQ(counters().requests.Get(), 4u);
  EXPECT_EQ(counters().infer_requests.Get(), 4u);
  EXPECT_EQ(counters().ok.Get(), 4u);
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(GrpcSessionTest, AnswersManyCallsInOneBatchWhenTheyComeTogether) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 8; ++i)
    ids.push_back(client->Call(kInferPath, InferMessage({static_cast<float>(i), 0})));
  Exchange();
  Answer(8);
  for (int i = 0; i < 8; ++i) {
    EXPECT_THAT(ReadResult(client->answer(ids[static_cast<size_t>(i)]).messages().at(0)).values,
                ElementsAre(2 * i + 1, 1));
  }
  EXPECT_EQ(host.model().script.rows(), std::vector<int64_t>{8});
}

TEST_F(GrpcSessionTest, EndsWithAStatusAloneWhenARequestFails) {
  const int32_t id = client->Call(kInferPath, InferMessage({1, 2}, "7", "other"));
  Exchange();
  const GrpcAnswer& answer = client->answer(id);
  EXPECT_EQ(answer.status(), 5);
  EXPECT_EQ(answer.head.at(":status"), "200");
  EXPECT_THAT(answer.head.at("grpc-message"), HasSubstr("model 'other' is not known"));
  EXPECT_TRUE(answer.head.at("grpc-status-details-bin").starts_with("CAUS"));
  EXPECT_TRUE(answer.data.empty());
  EXPECT_EQ(counters().client_errors.Get(), 1u);
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(GrpcSessionTest, FailsOneRequestWhenTheModelFailsOnIt) {
  const int32_t bad = client->Call(kInferPath, InferMessage({falaj::test::kPoison, 0}));
  const int32_t good = client->Call(kInferPath, InferMessage({1, 1}));
  Exchange();
  Answer(2);
  EXPECT_EQ(client->answer(bad).status(), 3);
  EXPECT_EQ(client->answer(good).status(), 0);
}

TEST_F(GrpcSessionTest, RefusesAMessageWhenItIsNoProtobuf) {
  const int32_t id = client->Call(kInferPath, "\xff\xff\xff");
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 3);
}

TEST_F(GrpcSessionTest, RefusesACallWhenItsNumberOfMessagesIsNotOne) {
  const int32_t none = client->Open(GrpcClient::Head(kInferPath), "", true);
  const std::string two = Framed(InferMessage({1, 2})) + Framed(InferMessage({1, 2}));
  const int32_t more = client->Open(GrpcClient::Head(kInferPath), two, true);
  Exchange();
  EXPECT_EQ(client->answer(none).status(), 12);
  EXPECT_EQ(client->answer(more).status(), 12);
  host.DeliverAll();
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(GrpcSessionTest, RefusesACallWhenItEndsWithinAMessage) {
  const std::string framed = Framed(InferMessage({1, 2}));
  const int32_t id = client->Open(GrpcClient::Head(kInferPath), framed.substr(0, framed.size() - 1), true);
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 3);
  EXPECT_EQ(Refused(Refusal::kMalformed), 1u);
}

TEST_F(GrpcSessionTest, AnswersBeforeTheClientHasEndedWhenItsMessageIsWhole) {
  const int32_t id = client->Open(GrpcClient::Head(kInferPath), Framed(InferMessage({1, 2})), false);
  Exchange();
  Answer();
  EXPECT_EQ(client->answer(id).status(), 0);
  EXPECT_TRUE(client->answer(id).closed);  // by a reset without error
  EXPECT_EQ(client->answer(id).error, 0u);
}

TEST_F(GrpcSessionTest, RefusesACallWhenItsHeadIsNotGrpcs) {
  const auto call = [&](std::string_view name, std::string_view value) {
    auto head = GrpcClient::Head(kInferPath);
    std::erase_if(head, [&](const auto& field) { return field.first == name; });
    if (!value.empty())
      head.insert(name[0] == ':' ? head.begin() : head.end(), {std::string(name), std::string(value)});
    const int32_t id = client->Open(head, Framed(InferMessage({1, 2})), true);
    Exchange();
    return client->answer(id);
  };
  EXPECT_EQ(call(":method", "GET").head.at(":status"), "405");
  EXPECT_EQ(call("content-type", "application/json").head.at(":status"), "415");
  EXPECT_EQ(call("content-type", "application/grpcx").head.at(":status"), "415");
  EXPECT_EQ(call("content-type", "").head.at(":status"), "415");
  EXPECT_EQ(call("te", "").status(), 3);
  EXPECT_EQ(call(":path", "/ModelInfer").status(), 12);
  EXPECT_EQ(call("grpc-timeout", "soon").status(), 3);
  EXPECT_EQ(call("grpc-encoding", "br").status(), 12);
  EXPECT_EQ(call("grpc-encoding", "br").head.at("grpc-accept-encoding"), "identity,deflate,gzip");
  EXPECT_EQ(counters().client_errors.Get(), 6u);
  EXPECT_EQ(counters().server_errors.Get(), 3u);
  EXPECT_EQ(Refused(Refusal::kMalformed), 9u);
  call("content-type", "application/grpc+proto");
  Answer();
  EXPECT_EQ(counters().ok.Get(), 1u);
}

TEST_F(GrpcSessionTest, ReadsEachHeadForItselfWhateverCameBefore) {
  using Pairs = GrpcClient::Pairs;
  const Pairs none;
  const Pairs gzip{{"grpc-encoding", "gzip"}};
  const Pairs more{{"grpc-encoding", "gzip"}, {"x-request-id", "r"}};
  const Pairs unknown{{"grpc-encoding", "br"}};
  const Pairs large{{"x-mine", std::string(5000, 'x')}};
  // Repetitions, beginnings of the one before, its continuations, and others.
  for (const Pairs& extra : {none,    none,    gzip, gzip,  more,  more, gzip, none,  unknown, none, unknown,
                             unknown, unknown, more, large, large, more, none, large, gzip,    none}) {
    const int32_t id = client->Call(kInferPath, InferMessage({1, 2}), extra);
    Exchange();
    if (extra != unknown) Answer();
    EXPECT_EQ(client->answer(id).status(), extra == unknown ? 12 : 0) << testing::PrintToString(extra);
  }
  client->Call("/inference.GRPCInferenceService/ServerLive", "");
  Exchange();
  ASSERT_EQ(host.asked().size(), 1u);
  EXPECT_EQ(host.asked().back().second.target, "/inference.GRPCInferenceService/ServerLive");
  const int32_t bad = client->Call(kInferPath, InferMessage({1, 2}), {{"te", "gzip"}});
  const int32_t good = client->Call(kInferPath, InferMessage({1, 2}));
  Exchange();
  Answer();
  EXPECT_EQ(client->answer(bad).error, 1u);  // PROTOCOL_ERROR
  EXPECT_EQ(client->answer(good).status(), 0);
}

TEST_F(GrpcSessionTest, HoldsACallToTheLengthThatItsHeadTells) {
  const std::string body = Framed(InferMessage({1, 2}));
  for (const int repetition : {0, 1, 2}) {
    for (const int more : {0, 1, -1}) {
      auto head = GrpcClient::Head(kInferPath);
      head.emplace_back("content-length", std::to_string(static_cast<int>(body.size()) + more));
      const int32_t id = client->Open(head, body, true);
      Exchange();
      if (more >= 0) Answer();  // of less than was said the request was there, and is withdrawn
      EXPECT_EQ(client->answer(id).error, more == 0 ? 0u : 1u) << repetition << more;
      EXPECT_EQ(client->answer(id).status(), more == 0 ? 0 : -1) << repetition << more;
    }
  }
  EXPECT_EQ(Refused(Refusal::kMalformed), 6u);
}

TEST_F(GrpcWideTest, CompressesAnAnswerWhenItsRequestWasAndItIsLong) {
  Compressor compressor;
  for (const size_t columns : {size_t{2}, size_t{1000}}) {
    std::string packed;
    ASSERT_TRUE(compressor.Compress(Encoding::kGzip, WideMessage(columns), packed).ok());
    auto head = GrpcClient::Head(kInferPath);
    head.emplace_back("grpc-encoding", "gzip");
    head.emplace_back("grpc-accept-encoding", "identity, gzip");
    const int32_t id = client->Open(head, Framed(packed, true), true);
    Exchange();
    Answer();
    const GrpcAnswer& answer = client->answer(id);
    EXPECT_EQ(answer.status(), 0);
    EXPECT_EQ(answer.head.at("grpc-encoding"), "gzip");
    const bool is_long = columns > 2;
    EXPECT_EQ(answer.data[0], is_long ? 1 : 0);
    std::string plain = answer.messages().at(0);
    if (is_long) {
      const std::string deflated = plain;
      ASSERT_EQ(
          Decompressor().Decompress(Encoding::kGzip, std::as_bytes(std::span(deflated)), 1 << 20, plain),
          Inflated::kDone);
    }
    EXPECT_EQ(ReadResult(plain).values, std::vector<float>(columns, 1));
  }
}

TEST_F(GrpcWideTest, AnswersInPlainWhenTheClientDoesNotAcceptGzip) {
  std::string packed;
  ASSERT_TRUE(Compressor().Compress(Encoding::kDeflate, WideMessage(1000), packed).ok());
  auto head = GrpcClient::Head(kInferPath);
  head.emplace_back("grpc-encoding", "deflate");
  const int32_t id = client->Open(head, Framed(packed, true), true);
  Exchange();
  Answer();
  EXPECT_EQ(client->answer(id).head.count("grpc-encoding"), 0u);
  EXPECT_EQ(ReadResult(client->answer(id).messages().at(0)).values.size(), 1000u);
}

TEST_F(GrpcSessionTest, RefusesACompressedMessageWhenItCannotBeRead) {
  const auto call = [&](const char* encoding, std::string_view message) {
    auto head = GrpcClient::Head(kInferPath);
    if (*encoding != '\0') head.emplace_back("grpc-encoding", encoding);
    const int32_t id = client->Open(head, Framed(message, true), true);
    Exchange();
    return client->answer(id).status();
  };
  EXPECT_EQ(call("", "x"), 13);
  EXPECT_EQ(call("gzip", "not gzip"), 3);
}

// --- Deadlines, cancellation, loss

TEST_F(GrpcSessionTest, EndsACallWhenItsDeadlinePassesInTheQueue) {
  host.model().script.CloseGate();
  const int32_t first = client->Call(kInferPath, InferMessage({1, 2}));
  Exchange();
  host.EndTurn();
  host.model().script.WaitUntilEntered(1);
  const int32_t late = client->Call(kInferPath, InferMessage({3, 4}), {{"grpc-timeout", "20m"}});
  Exchange();
  Answer();  // the timer's
  EXPECT_EQ(client->answer(late).status(), 4);
  host.model().script.OpenGate();
  Answer();
  EXPECT_EQ(client->answer(first).status(), 0);
}

TEST_F(GrpcSessionTest, WithdrawsOneOfManyWhenItsStreamIsReset) {
  host.model().script.CloseGate();
  std::vector<int32_t> ids;
  for (int i = 0; i < 3; ++i)
    ids.push_back(client->Call(kInferPath, InferMessage({static_cast<float>(i), 0})));
  Exchange();
  client->Reset(ids[1]);
  Exchange();
  host.model().script.OpenGate();
  Answer(3);
  EXPECT_EQ(client->answer(ids[0]).status(), 0);
  EXPECT_EQ(client->answer(ids[1]).status(), -1);
  EXPECT_EQ(client->answer(ids[2]).status(), 0);
  EXPECT_EQ(host.model().script.rows(), std::vector<int64_t>{2});
  EXPECT_EQ(counters().cancelled.Get(), 1u);
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(GrpcSessionTest, WithdrawsWhatIsUnderWayWhenTheConnectionIsLost) {
  client->Call(kInferPath, InferMessage({1, 2}));
  client->Call("/p.S/Method", "ask");
  const int32_t stream = client->Open(GrpcClient::Head(kStreamPath), Framed(InferMessage({1, 2})), false);
  Exchange();
  EXPECT_EQ(host.shares().requests(), 3);
  session.reset();
  EXPECT_EQ(host.shares().requests(), 0);
  EXPECT_EQ(host.forgotten().size(), 1u);
  EXPECT_EQ(counters().cancelled.Get(), 3u);
  host.DeliverAll();
  EXPECT_EQ(host.model().script.rows().size(), 0u);
  EXPECT_EQ(client->answer(stream).status(), -1);
}

TEST_F(GrpcSessionTest, FinishesWhenTheClientHasClosedItsSide) {
  client->Call(kInferPath, InferMessage({1, 2}));
  Exchange();
  session->InputEnded();
  EXPECT_FALSE(session->WantsInput());
  Exchange();
  EXPECT_TRUE(session->Finished());
  host.DeliverAll();
}

// --- ModelStreamInfer

TEST_F(GrpcSessionTest, AnswersAStreamOutOfOrderWhenLaterRequestsAreReadyFirst) {
  host.model().script.CloseGate();
  const int32_t id = client->Open(GrpcClient::Head(kStreamPath), Framed(InferMessage({1, 0}, "slow")), false);
  Exchange();
  host.EndTurn();
  host.model().script.WaitUntilEntered(1);
  client->Send(id, Framed(InferMessage({0}, "malformed")) + Framed(InferMessage({2, 0}, "next")), false);
  Exchange();
  auto results = StreamResults(id);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].id, "malformed");
  EXPECT_THAT(results[0].error, HasSubstr("expected FP32 [-1, 2]"));
  host.model().script.OpenGate();
  Answer(2);
  results = StreamResults(id);
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[1].id, "slow");
  EXPECT_EQ(results[2].id, "next");
  EXPECT_THAT(results[2].values, ElementsAre(5, 1));
  EXPECT_EQ(client->answer(id).status(), -1);
  client->Send(id, "", true);
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 0);
  EXPECT_EQ(counters().ok.Get(), 2u);
  EXPECT_EQ(counters().client_errors.Get(), 1u);
}

TEST_F(GrpcSessionTest, WaitsForAllAnswersWhenAStreamIsHalfClosed) {
  const int32_t id =
      client->Open(GrpcClient::Head(kStreamPath),
                   Framed(InferMessage({1, 0}, "a")) + Framed(InferMessage({2, 0}, "b")), true);
  Exchange();
  EXPECT_EQ(client->answer(id).status(), -1);
  Answer(2);
  EXPECT_EQ(StreamResults(id).size(), 2u);
  EXPECT_EQ(client->answer(id).status(), 0);
}

TEST_F(GrpcSessionTest, EndsAStreamWithItsFirstErrorWhenTheClientAsksForThat) {
  auto head = GrpcClient::Head(kStreamPath);
  head.emplace_back("triton_grpc_error", "true");
  const int32_t id = client->Open(
      head, Framed(InferMessage({1, 0}, "a")) + Framed(InferMessage({1, 0}, "b", "other")), false);
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 5);
  EXPECT_EQ(host.shares().requests(), 0);
  host.DeliverAll();
}

TEST_F(GrpcSessionTest, EndsAStreamWhenItsDeadlinePasses) {
  auto head = GrpcClient::Head(kStreamPath);
  head.emplace_back("grpc-timeout", "1S");
  const int32_t id = client->Open(head, "", false);
  Exchange();
  Pass(std::chrono::seconds(2));
  EXPECT_EQ(client->answer(id).status(), 4);
}

// --- The control plane

TEST_F(GrpcSessionTest, AsksTheControlPlaneWhenAMethodIsNotInfer) {
  const int32_t id = client->Call("/inference.GRPCInferenceService/ServerLive", "ask", {{"x-key", "value"}});
  Exchange();
  ASSERT_EQ(host.asked().size(), 1u);
  const ControlRequest& request = host.asked()[0].second;
  EXPECT_EQ(request.listener, Listener::kGrpc);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/inference.GRPCInferenceService/ServerLive");
  EXPECT_EQ(request.body, "ask");
  EXPECT_EQ(request.peer_address, "192.0.2.1");
  EXPECT_THAT(request.headers, testing::Contains(testing::Pair("x-key", "value")));
  EXPECT_EQ(host.shares().requests(), 1);
  ControlReply reply = Reply("told", 0);
  reply.headers = {{"x-more", "yes"}, {"grpc-status", "3"}};
  host.Reply(std::move(reply));
  EXPECT_EQ(carrier.output_ready, 1);
  Exchange();
  EXPECT_THAT(client->answer(id).messages(), ElementsAre("told"));
  EXPECT_EQ(client->answer(id).status(), 0);
  EXPECT_EQ(client->answer(id).trailers.at("x-more"), "yes");
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(GrpcSessionTest, EndsWithTheControlPlanesStatusWhenItFails) {
  const int32_t id = client->Call("/p.S/Unknown", "");
  Exchange();
  host.Reply(Reply(std::nullopt, 12, "unknown method 'Unknown'"));
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 12);
  EXPECT_EQ(client->answer(id).head.at("grpc-message"), "unknown method 'Unknown'");
}

TEST_F(GrpcSessionTest, StreamsAnAnswerWhenTheControlPlaneGoesOn) {
  const int32_t id = client->Call("/grpc.health.v1.Health/Watch", "");
  Exchange();
  host.Reply(Reply("one", std::nullopt));
  Exchange();
  EXPECT_EQ(host.shares().requests(), 0);  // a watch is no request under way
  const std::string large(100'000, 'x');
  host.Reply(Reply(large, std::nullopt));
  Exchange();
  EXPECT_THAT(client->answer(id).messages(), ElementsAre("one", large));
  EXPECT_GE(host.sent(host.asked().back().first), large.size());
  client->Reset(id);
  Exchange();
  EXPECT_EQ(host.forgotten().size(), 1u);
}

TEST_F(GrpcSessionTest, AsksOneAfterTheOtherWhenTheMethodIsReflection) {
  for (const char* version : {"v1", "v1alpha"}) {
    const std::string path =
        std::string("/grpc.reflection.") + version + ".ServerReflection/ServerReflectionInfo";
    const int32_t id = client->Open(GrpcClient::Head(path), Framed("a") + Framed("b"), true);
    host.asked().clear();
    Exchange();
    ASSERT_EQ(host.asked().size(), 1u);
    EXPECT_EQ(host.asked()[0].second.body, "a");
    host.Reply(Reply("A", 0));
    Exchange();
    ASSERT_EQ(host.asked().size(), 2u);
    EXPECT_EQ(host.asked()[1].second.body, "b");
    EXPECT_EQ(client->answer(id).status(), -1);
    host.Reply(Reply("B", 0));
    Exchange();
    EXPECT_THAT(client->answer(id).messages(), ElementsAre("A", "B"));
    EXPECT_EQ(client->answer(id).status(), 0);
  }
}

TEST_F(GrpcSessionTest, EndsAnAskedCallWhenItsDeadlinePasses) {
  const int32_t id = client->Call("/p.S/Method", "ask", {{"grpc-timeout", "100m"}});
  Exchange();
  Pass(std::chrono::milliseconds(99));
  EXPECT_EQ(client->answer(id).status(), -1);
  Pass(std::chrono::milliseconds(150));
  EXPECT_EQ(client->answer(id).status(), 4);
  EXPECT_EQ(host.forgotten().size(), 1u);
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(GrpcSessionTest, SaysThatItIsUnavailableWhenTheControlPlaneIsGone) {
  host.LoseControlPlane();
  const int32_t id = client->Call("/p.S/Method", "ask");
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 14);
  EXPECT_EQ(Refused(Refusal::kControlQueue), 1u);
  EXPECT_EQ(host.shares().requests(), 0);
}

}  // namespace
}  // namespace falaj::wire

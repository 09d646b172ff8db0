// What a gRPC session bears from its client, and for how long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "wire/grpc_session_fixture.h"

namespace falaj::wire {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using test::Framed;
using test::GrpcAnswer;
using test::GrpcClient;
using test::InferMessage;
using test::kInferPath;
using test::kStreamPath;
using test::WideMessage;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kEnhanceYourCalm = 11;

WireOptions Small() {
  WireOptions options;
  options.max_buffered_bytes = 8 << 20;
  options.max_requests_in_flight = 16;
  options.max_requests_per_client = 12;
  options.grpc.max_message_bytes = 1 << 20;
  options.grpc.max_concurrent_streams = 64;
  options.grpc.max_requests_per_stream = 4;
  options.grpc.max_metadata_bytes = 1024;
  options.grpc.stream_window_bytes = 64 * 1024;
  options.grpc.max_resets_per_second = 10;
  options.grpc.max_control_frames_per_second = 20;
  return options;
}

class GrpcLimitsTest : public test::GrpcSessionFixture {
 protected:
  GrpcLimitsTest() : GrpcSessionFixture(Small()) {}
};

// With answers as large as is asked for.
class GrpcLargeTest : public test::GrpcWideFixture {
 protected:
  GrpcLargeTest() : GrpcWideFixture(Options()) {}
  static WireOptions Options() {
    WireOptions options;
    options.max_buffered_bytes = 64 << 20;
    return options;
  }
  static constexpr size_t kColumns = 2 << 20;  // 8 MiB
};

// --- Floods

TEST_F(GrpcLimitsTest, SendsAClientAwayWhenItResetsStreamAfterStream) {
  host.model().script.CloseGate();
  for (int i = 0; i < 20 && client->goaways.empty(); ++i) {
    const int32_t id = client->Call(kInferPath, InferMessage({1, 2}));
    Exchange();
    client->Reset(id);
    Exchange();
  }
  ASSERT_EQ(client->goaways.size(), 1u);
  EXPECT_EQ(client->goaways[0].error, kEnhanceYourCalm);
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(Refused(Refusal::kFlood), 1u);
  host.model().script.OpenGate();
  host.DeliverAll();
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(GrpcLimitsTest, KeepsAClientWhenItResetsNowAndThen) {
  for (int i = 0; i < 30; ++i) {
    const int32_t id = client->Call("/p.S/Method", "");
    Exchange();
    client->Reset(id);
    Pass(200ms);
  }
  EXPECT_TRUE(client->goaways.empty());
}

TEST_F(GrpcLimitsTest, SendsAClientAwayWhenItPingsAllTheTime) {
  Exchange();
  for (int i = 0; i < 5 && client->goaways.empty(); ++i) {
    client->Ping();
    Pass(1s);
  }
  ASSERT_EQ(client->goaways.size(), 1u);
  EXPECT_EQ(client->goaways[0].error, kEnhanceYourCalm);
  EXPECT_EQ(client->goaways[0].text, "too_many_pings");
  EXPECT_TRUE(session->Finished());
}

TEST_F(GrpcLimitsTest, KeepsAClientWhenItPingsBetweenItsAnswers) {
  for (int i = 0; i < 10; ++i) {
    client->Call(kInferPath, InferMessage({1, 2}));
    Exchange();
    Answer();
    client->Ping();
    Exchange();
  }
  for (int i = 0; i < 10; ++i) {
    client->Ping();
    Pass(11s);
  }
  EXPECT_TRUE(client->goaways.empty());
}

TEST_F(GrpcLimitsTest, SendsAClientAwayWhenItSendsControlFramesOnly) {
  const std::string empty_data("\0\0\0\0\0\0\0\0\1", 9);
  const std::string priority("\0\0\5\2\0\0\0\0\1\0\0\0\0\x10", 14);
  for (const std::string& frame : {empty_data, priority}) {
    Connect();
    Exchange();
    client->Open(GrpcClient::Head(kStreamPath), "", false);
    Exchange();
    for (int i = 0; i < 30 && session->WantsInput(); ++i) falaj::test::Feed(*session, frame);
    client->Input(falaj::test::Drain(*session));
    ASSERT_EQ(client->goaways.size(), 1u);
    EXPECT_EQ(client->goaways[0].error, kEnhanceYourCalm);
  }
}

TEST_F(GrpcLimitsTest, RefusesStreamsWhenThereAreTooMany) {
  std::vector<int32_t> ids;
  Exchange();
  for (int i = 0; i < 70; ++i) ids.push_back(client->Open(GrpcClient::Head(kStreamPath), "", false));
  Exchange();
  // The client's own library holds back what is above our SETTINGS.
  for (int i = 0; i < 64; ++i) EXPECT_FALSE(client->answer(ids[static_cast<size_t>(i)]).closed);
  client->Send(ids[0], "", true);
  Exchange();
  EXPECT_EQ(client->answer(ids[0]).status(), 0);
}

TEST_F(GrpcLimitsTest, EndsACallWhenItsMetadataIsTooLarge) {
  const int32_t large = client->Call(kInferPath, InferMessage({1, 2}), {{"x", std::string(2000, 'y')}});
  const int32_t huge = client->Call(kInferPath, InferMessage({1, 2}), {{"x", std::string(8000, 'y')}});
  const int32_t good = client->Call(kInferPath, InferMessage({1, 2}));
  Exchange();
  EXPECT_EQ(client->answer(large).status(), 8);
  EXPECT_TRUE(client->answer(huge).closed);
  EXPECT_EQ(client->answer(huge).status(), -1);
  EXPECT_EQ(Refused(Refusal::kHeaderSize), 2u);
  Answer();
  EXPECT_EQ(client->answer(good).status(), 0);
}

TEST_F(GrpcLimitsTest, ClosesAtOnceWhenTheClientSpeaksSomethingElse) {
  for (const std::string_view garbage :
       {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"}) {
    Connect();
    falaj::test::Feed(*session, garbage);
    EXPECT_TRUE(session->Finished());
    EXPECT_FALSE(session->WantsInput());
    EXPECT_EQ(falaj::test::Drain(*session), "");
  }
  EXPECT_EQ(Refused(Refusal::kMalformed), 2u);
}

TEST_F(GrpcLimitsTest, SaysGoodbyeWhenAFrameIsMalformed) {
  const int32_t id = client->Call("/p.S/Method", "");
  Exchange();
  const std::string settings_on_a_stream("\0\0\0\4\0\0\0\0\1", 9);
  falaj::test::Feed(*session, settings_on_a_stream);
  Exchange();
  ASSERT_EQ(client->goaways.size(), 1u);
  EXPECT_EQ(client->goaways[0].error, 1u);
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(Refused(Refusal::kMalformed), 1u);
  session.reset();
  EXPECT_EQ(host.forgotten().size(), 1u);
  EXPECT_EQ(client->answer(id).status(), -1);
}

// --- Sizes and numbers of requests

TEST_F(GrpcLimitsTest, EndsACallWhenItsMessageIsTooLarge) {
  std::string prefix("\0\x7f\xff\xff\xff", 5);
  const int32_t id = client->Open(GrpcClient::Head(kInferPath), prefix, false);
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 8);
  EXPECT_EQ(Refused(Refusal::kBodySize), 1u);
}

TEST_F(GrpcLimitsTest, EndsACallWhenItsMessageIsTooLargeDecompressed) {
  std::string packed;
  ASSERT_TRUE(Compressor().Compress(Encoding::kGzip, std::string(4 << 20, 'x'), packed).ok());
  auto head = GrpcClient::Head(kInferPath);
  head.emplace_back("grpc-encoding", "gzip");
  const int32_t id = client->Open(head, Framed(packed, true), true);
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 8);
  EXPECT_EQ(Refused(Refusal::kBodySize), 1u);
}

TEST_F(GrpcLimitsTest, TakesAMessageWhenItIsLargerThanItsWindow) {
  const int32_t id = client->Call("/p.S/Method", std::string(1 << 20, 'x'));
  Exchange();
  ASSERT_EQ(host.asked().size(), 1u);
  EXPECT_EQ(host.asked()[0].second.body.size(), size_t{1} << 20);
  EXPECT_EQ(host.shares().buffered_bytes(), 0);
  host.Reply(Reply("", 0));
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 0);
}

TEST_F(GrpcLimitsTest, RefusesToReceiveWhenTooMuchIsBuffered) {
  std::vector<int32_t> ids;
  const std::string most = Framed(std::string(1 << 20, 'x')).substr(0, 1 << 20);
  for (int i = 0; i < 12; ++i) ids.push_back(client->Open(GrpcClient::Head(kInferPath), most, false));
  Exchange();
  const auto refused =
      std::count_if(ids.begin(), ids.end(), [&](int32_t id) { return client->answer(id).status() == 14; });
  EXPECT_GE(refused, 3);
  EXPECT_EQ(Refused(Refusal::kBuffered), static_cast<uint64_t>(refused));
  EXPECT_LE(host.shares().buffered_bytes(), 8 << 20);
  session.reset();
  EXPECT_EQ(host.shares().buffered_bytes(), 0);
}

TEST_F(GrpcLimitsTest, RefusesRequestsWhenTheClientHasItsShare) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 14; ++i) ids.push_back(client->Call(kInferPath, InferMessage({1, 2})));
  Exchange();
  EXPECT_EQ(client->answer(ids[13]).status(), 8);
  EXPECT_THAT(client->answer(ids[13]).head.at("grpc-message"), HasSubstr("this client has too many"));
  EXPECT_EQ(Refused(Refusal::kClientShare), 2u);
  Answer(12);
}

TEST_F(GrpcLimitsTest, RefusesRequestsWhenTheServerHasItsFill) {
  ClientHoldings others;
  for (int i = 0; i < 8; ++i) ASSERT_FALSE(host.shares().Begin(others));
  ClientHoldings more;
  for (int i = 0; i < 8; ++i) static_cast<void>(host.shares().Begin(more));
  while (host.shares().requests() < 16) {
    ClientHoldings one;
    ASSERT_FALSE(host.shares().Begin(one));
  }
  const int32_t id = client->Call(kInferPath, InferMessage({1, 2}));
  const int32_t stream = client->Open(GrpcClient::Head(kStreamPath), Framed(InferMessage({1, 2})), true);
  Exchange();
  EXPECT_EQ(client->answer(id).status(), 14);
  EXPECT_THAT(StreamResults(stream).at(0).error, HasSubstr("too many requests are under way"));
  EXPECT_EQ(client->answer(stream).status(), 0);
  EXPECT_EQ(Refused(Refusal::kInFlight), 2u);
}

TEST_F(GrpcLimitsTest, RefusesWatchesWhenAConnectionHasMany) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 17; ++i) {
    ids.push_back(client->Call("/grpc.health.v1.Health/Watch", ""));
    Exchange();
    host.Reply(Reply("serving", std::nullopt));
    Exchange();
  }
  EXPECT_EQ(client->answer(ids[15]).status(), -1);
  EXPECT_EQ(client->answer(ids[16]).status(), 8);
  client->Reset(ids[0]);
  ids.push_back(client->Call("/grpc.health.v1.Health/Watch", ""));
  Exchange();
  host.Reply(Reply("serving", std::nullopt));
  Exchange();
  EXPECT_EQ(client->answer(ids[17]).status(), -1);
}

// --- Flow control

TEST_F(GrpcLimitsTest, LeavesAStreamsRequestsWaitingWhenManyAreUnderWay) {
  host.model().script.CloseGate();
  std::string requests;
  for (int i = 0; i < 2000; ++i)
    requests += Framed(InferMessage({static_cast<float>(i), 0}, std::to_string(i)));
  ASSERT_GT(requests.size(), size_t{64} * 1024);
  const int32_t id = client->Open(GrpcClient::Head(kStreamPath), requests, true);
  Exchange();
  EXPECT_EQ(host.shares().requests(), 4);
  EXPECT_LE(counters().bytes_in.Get(), 64u * 1024 + 1024);  // the stream's window
  // The others of the connection go on.
  const int32_t other = client->Call("/p.S/Method", "ask");
  Exchange();
  host.Reply(Reply("told", 0));
  Exchange();
  EXPECT_EQ(client->answer(other).status(), 0);
  host.model().script.OpenGate();
  while (client->answer(id).status() < 0) Answer();
  EXPECT_EQ(client->answer(id).status(), 0);
  EXPECT_EQ(StreamResults(id).size(), 2000u);
  EXPECT_EQ(host.shares().buffered_bytes(), 0);
}

TEST_F(GrpcLargeTest, SendsALargeAnswerInPartsWhenTheClientOpensItsWindowSlowly) {
  Connect({.window = 100'000, .opens_windows = false});
  const int32_t id = client->Call(kInferPath, WideMessage(kColumns));
  Exchange();
  Answer();
  EXPECT_EQ(client->answer(id).data.size(), 65535u);  // the connection's window
  EXPECT_GE(host.shares().buffered_bytes(), 8 << 20);
  EXPECT_TRUE(session->WantsInput());  // or no window would ever be opened
  size_t turns = 0;
  while (client->answer(id).status() < 0 && ++turns < 1000) {
    client->OpenWindow(id, 1 << 20);
    Exchange();
  }
  EXPECT_EQ(test::ReadResult(client->answer(id).messages().at(0)).values, std::vector<float>(kColumns, 1));
  EXPECT_LT(turns, 12u);
  EXPECT_EQ(host.shares().buffered_bytes(), 0);
}

TEST_F(GrpcLargeTest, LetsSmallAnswersPassWhenALargeOneIsBeingSent) {
  Connect({.window = 1 << 30, .opens_windows = false});
  client->OpenWindow(0, 1 << 30);
  const int32_t large = client->Call(kInferPath, WideMessage(kColumns / 4));
  Exchange();
  host.Deliver(1);
  std::array<iovec, 4> pieces;
  ASSERT_EQ(session->Output(pieces), 4u);  // some of it is on its way
  const int32_t small = client->Call(kInferPath, WideMessage(1));
  falaj::test::Feed(*session, client->Output());
  host.Deliver(1);
  while (client->answer(small).status() < 0) {
    const size_t count = session->Output(pieces);
    ASSERT_GT(count, 0u);
    size_t bytes = 0;
    for (size_t i = 0; i < count; ++i) {
      client->Input({static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len});
      bytes += pieces[i].iov_len;
    }
    session->Wrote(bytes);
  }
  EXPECT_EQ(client->answer(large).status(), -1);
  EXPECT_LT(client->answer(large).data.size(), size_t{1} << 20);
}

TEST_F(GrpcLargeTest, StopsReadingWhenTheSocketTakesNothing) {
  Connect({.window = 1 << 30, .opens_windows = true});
  client->OpenWindow(0, 1 << 30);
  client->Call(kInferPath, WideMessage(kColumns));
  Exchange();
  host.Deliver(1);
  EXPECT_TRUE(session->WantsInput());
  std::array<iovec, 16> pieces;
  ASSERT_GT(session->Output(pieces), 0u);
  EXPECT_FALSE(session->WantsInput());
  Exchange();
  EXPECT_TRUE(session->WantsInput());
}

TEST_F(GrpcLargeTest, RefusesAnAnswerWhenTooMuchIsBuffered) {
  Connect({.window = 1, .opens_windows = false});
  std::vector<int32_t> ids;
  for (int i = 0; i < 10; ++i) {
    ids.push_back(client->Call(kInferPath, WideMessage(kColumns)));
    Exchange();
    host.DeliverAll();
    Exchange();
  }
  EXPECT_EQ(client->answer(ids.back()).status(), 14);
  EXPECT_GE(Refused(Refusal::kBuffered), 1u);
  EXPECT_LE(host.shares().buffered_bytes(), 64 << 20);
}

TEST_F(GrpcLargeTest, ResetsACallWhenItsWindowStaysClosed) {
  Connect({.window = 1000, .opens_windows = false});
  const int32_t id = client->Call(kInferPath, WideMessage(kColumns));
  Exchange();
  Answer();
  for (int i = 0; i < 4; ++i) Pass(10s);
  EXPECT_FALSE(client->answer(id).closed);
  Pass(10s);
  EXPECT_TRUE(client->answer(id).closed);
  EXPECT_EQ(client->answer(id).error, 8u);
  EXPECT_EQ(Refused(Refusal::kWriteTimeout), 1u);
  EXPECT_EQ(host.shares().buffered_bytes(), 0);
}

// --- Time

TEST_F(GrpcLimitsTest, EndsACallWhenItsMessageDoesNotGoOn) {
  const std::string half = Framed(std::string(300'000, 'x')).substr(0, 200'000);
  const int32_t stalled = client->Open(GrpcClient::Head(kInferPath), half, false);
  const int32_t slow = client->Open(GrpcClient::Head(kStreamPath), half, false);
  const int32_t steady = client->Open(GrpcClient::Head(kStreamPath), half, false);
  const int32_t idle = client->Open(GrpcClient::Head(kStreamPath), Framed(InferMessage({1, 2})), false);
  Exchange();
  Answer();
  EXPECT_GT(host.shares().buffered_bytes(), 0);
  for (int second = 0; second < 65; ++second) {
    client->Send(slow, "x", false);
    client->Send(steady, std::string(300, 'x'), false);
    Pass(1s);
  }
  EXPECT_EQ(client->answer(stalled).status(), 4);
  EXPECT_EQ(client->answer(slow).status(), 4);
  EXPECT_FALSE(client->answer(steady).closed);
  EXPECT_FALSE(client->answer(idle).closed);
  EXPECT_EQ(Refused(Refusal::kBodyTimeout), 2u);
  client->Reset(steady);
  Exchange();
  EXPECT_EQ(host.shares().buffered_bytes(), 0);
}

TEST_F(GrpcLimitsTest, DoesNotHurryAClientWhenItWaitsForUs) {
  host.model().script.CloseGate();
  std::string messages;
  for (int i = 0; i < 5; ++i) messages += Framed(InferMessage({1, 2}));
  // Four are under way: the rest of the fifth is not looked at.
  const int32_t id =
      client->Open(GrpcClient::Head(kStreamPath), messages.substr(0, messages.size() - 1), false);
  Exchange();
  for (int i = 0; i < 10; ++i) Pass(10s);
  host.model().script.OpenGate();
  Answer(4);
  client->Send(id, messages.substr(messages.size() - 1), true);
  Exchange();
  Answer();
  EXPECT_EQ(client->answer(id).status(), 0);
}

TEST_F(GrpcLimitsTest, ResetsAStreamWhenItsHeadDoesNotEnd) {
  Exchange();
  const std::string begun("\0\0\1\1\0\0\0\0\1\x83", 10);  // ":method: POST", and more to come
  falaj::test::Feed(*session, begun);
  std::string sent;
  const auto pass = [&](Nanos time) {
    host.Advance(time);
    session->Tick();
    sent += falaj::test::Drain(*session);
  };
  for (int i = 0; i < 5; ++i) pass(10s);
  EXPECT_THAT(sent, HasSubstr(std::string("\0\0\4\3\0\0\0\0\1\0\0\0\x8", 13)));
  EXPECT_EQ(Refused(Refusal::kHeaderTimeout), 1u);
  const std::string end("\0\0\0\x9\4\0\0\0\1", 9);
  falaj::test::Feed(*session, end);
  EXPECT_FALSE(session->Finished());
  pass(301s);
  pass(5s);
  EXPECT_TRUE(session->Finished()) << "without streams it is idle";
}

TEST_F(GrpcLimitsTest, ClosesWhenTheClientSaysNothing) {
  Pass(9s);
  EXPECT_FALSE(session->Finished());
  session->Tick();
  host.Advance(2s);
  Connect();
  host.Advance(11s);
  session->Tick();
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(Refused(Refusal::kHeaderTimeout), 1u);
}

TEST_F(GrpcLimitsTest, PartsInPeaceWhenAConnectionIsIdle) {
  Exchange();
  Pass(299s);
  EXPECT_TRUE(client->goaways.empty());
  Pass(1s);
  ASSERT_EQ(client->goaways.size(), 1u);
  EXPECT_EQ(client->goaways[0].last_stream, INT32_MAX);
  EXPECT_FALSE(session->Finished());
  host.Advance(5s);
  session->Tick();
  // GOAWAY, NO_ERROR, last stream 0; the client's library would not look at it any more.
  EXPECT_EQ(falaj::test::Drain(*session), std::string("\0\0\10\7\0\0\0\0\0\0\0\0\0\0\0\0\0", 17));
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(Refused(Refusal::kIdleTimeout), 1u);
}

TEST_F(GrpcLimitsTest, PingsAndThenClosesWhenTheClientIsSilent) {
  client->Open(GrpcClient::Head(kStreamPath), "", false);
  Exchange();
  Pass(7200s);
  EXPECT_EQ(client->pings, 1);  // and it was answered
  Pass(21s);
  EXPECT_FALSE(session->Finished());
  host.Advance(7200s);
  session->Tick();
  falaj::test::Drain(*session);  // is lost
  host.Advance(19s);
  session->Tick();
  EXPECT_FALSE(session->Finished());
  host.Advance(1s);
  session->Tick();
  EXPECT_TRUE(session->Finished());
}

TEST_F(GrpcLimitsTest, ClosesWhenTheSocketTakesNothingForLong) {
  const int32_t id = client->Call(kInferPath, InferMessage({1, 2}));
  Exchange();
  host.Deliver(1);
  std::array<iovec, 4> pieces;
  ASSERT_GT(session->Output(pieces), 0u);
  host.Advance(29s);
  session->Tick();
  EXPECT_FALSE(session->Finished());
  host.Advance(1s);
  session->Tick();
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(session->Output(pieces), 0u);
  EXPECT_EQ(Refused(Refusal::kWriteTimeout), 1u);
  EXPECT_EQ(client->answer(id).status(), -1);
}

// --- The access log

TEST(GrpcLogTest, TellsOfEveryCallWhenAllAreSampled) {
  WireOptions options;
  options.access_log_per_million = 1'000'000;
  falaj::test::FakeHost host(options);
  falaj::test::FakeCarrier carrier;
  GrpcCodec codec{CodecLimits{}};
  GrpcSession session(host, carrier, Peer{"192.0.2.9", 1, false, ""}, std::make_shared<ClientHoldings>(),
                      codec);
  GrpcClient client;
  const std::string message = InferMessage({1, 2});
  client.Call(kInferPath, message, {{"x-request-id", "r-1"}});
  client.Call(kInferPath, InferMessage({1, 2}, "", "other"));
  client.Exchange(session);
  host.Deliver(1);
  client.Exchange(session);
  ASSERT_EQ(host.logged().size(), 2u);
  EXPECT_EQ(host.logged()[0].status, 5);
  const AccessRecord& record = host.logged()[1];
  EXPECT_EQ(record.listener, Listener::kGrpc);
  EXPECT_EQ(record.target, kInferPath);
  EXPECT_EQ(record.request_id, "r-1");
  EXPECT_EQ(record.peer_address, "192.0.2.9");
  EXPECT_EQ(record.status, 0);
  EXPECT_EQ(record.bytes_in, message.size() + kGrpcPrefixBytes);
  EXPECT_GT(record.bytes_out, kGrpcPrefixBytes);
}

}  // namespace
}  // namespace falaj::wire

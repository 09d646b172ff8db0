// The writing half of HttpSession: what the control plane says, and what is left of an answer nobody takes.
#include <algorithm>

#include "wire/http_session_fixture.h"

namespace falaj::wire::test {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(HttpSessionTest, AsksTheControlPlaneWhenItIsNotInfer) {
  Feed(*session, "GET /v2/models/a%20b?x=1 HTTP/1.1\r\nHost: h\r\nX-Thing: A\r\n\r\n");
  ASSERT_EQ(host.asked().size(), 1u);
  const ControlRequest& asked = host.asked()[0].second;
  EXPECT_EQ(asked.method, "GET");
  EXPECT_EQ(asked.target, "/v2/models/a%20b?x=1");
  EXPECT_THAT(asked.headers, testing::ElementsAre(std::pair("host", "h"), std::pair("x-thing", "A")));
  EXPECT_EQ(asked.peer_address, "192.0.2.1");
  host.Reply(Head(200, {{"content-length", "2"}, {"connection", "close"}, {"x", "y"}}));
  host.Reply(Body("ok", true));
  const std::string answer = Drain(*session);
  EXPECT_THAT(answer, AllOf(HasSubstr("x: y\r\n"), EndsWith("\r\n\r\nok")));
  EXPECT_THAT(answer, testing::Not(HasSubstr("connection")));
  EXPECT_EQ(host.shares().requests(), 0);
  Feed(*session, Infer());
  EXPECT_THAT(Answer(), StartsWith("HTTP/1.1 200")) << "the connection goes on";
}

TEST_F(HttpSessionTest, StreamsInChunksWhenTheLengthIsNotKnown) {
  Feed(*session, "GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n");
  host.Reply(Head(200, {}));
  EXPECT_THAT(Drain(*session), HasSubstr("transfer-encoding: chunked\r\n"));
  host.Reply(Body("0123456789abcdef!", false));
  EXPECT_EQ(Drain(*session), "11\r\n0123456789abcdef!\r\n");
  EXPECT_GT(host.sent(host.asked()[0].first), 17u);
  host.Reply(Body("", true));
  EXPECT_EQ(Drain(*session), "0\r\n\r\n");
  Feed(*session, Infer());
  EXPECT_THAT(Answer(), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpSessionTest, EndsTheAnswerWhenItsBodyHadLeftBefore) {
  Feed(*session, "GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n");
  host.Reply(Head(200, {{"content-length", "2"}}));
  host.Reply(Body("ok", false));
  Drain(*session);
  host.Reply(Body("", true));
  EXPECT_EQ(Feed(*session, Infer()), Infer().size());
  EXPECT_THAT(Answer(), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpSessionTest, SendsNoBodyWhenTheMethodIsHead) {
  Feed(*session, "HEAD /v2 HTTP/1.1\r\nHost: h\r\n\r\n");
  host.Reply(Head(200, {{"content-length", "2"}}));
  host.Reply(Body("ok", true));
  EXPECT_THAT(Drain(*session), EndsWith("content-length: 2\r\n\r\n"));
}

TEST_F(HttpSessionTest, TellsTheControlPlaneWhenItsClientLeaves) {
  Feed(*session, "GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n");
  session->InputEnded();
  EXPECT_EQ(host.forgotten(), std::vector<uint64_t>{host.asked()[0].first});
  EXPECT_FALSE(host.Reply(Head(200, {})));
}

TEST_F(HttpSessionTest, SaysSoWhenThereIsNoControlPlane) {
  host.LoseControlPlane();
  Feed(*session, "GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(Drain(*session), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("retry-after: 1\r\n")));
  EXPECT_FALSE(session->Finished());
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(HttpSessionTest, EndsWhenTheClientTakesNothing) {
  Feed(*session, Infer());
  host.Deliver(1);
  host.Advance(std::chrono::seconds(31));
  session->Tick();
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(Drain(*session), "");
  EXPECT_EQ(Refused(Refusal::kWriteTimeout), 1u);
}

TEST_F(HttpSessionTest, WritesWholeAnswersWhenTheSocketTakesLittle) {
  Feed(*session, Infer());
  host.Deliver(1);
  EXPECT_THAT(Drain(*session, 3), EndsWith(std::string(kReply)));
}

// What is not sent can never leave: the control plane would wait for it for ever.
TEST_F(HttpSessionTest, LetsTheControlPlaneGoOnWhenTheBodyOfHeadIsDropped) {
  Feed(*session, "HEAD /v2 HTTP/1.1\r\nHost: h\r\n\r\n");
  const uint64_t id = host.asked()[0].first;
  host.Reply(Head(200, {}));
  host.Reply(Body(std::string(1000, 'x'), false));
  EXPECT_EQ(host.sent(id), 1000u);
  host.Reply(Body("", true));
  EXPECT_THAT(Drain(*session), EndsWith("transfer-encoding: chunked\r\n\r\n"));
}

TEST_F(HttpSessionTest, SendsTheBodyOfARefusalWhenHeadCameBefore) {
  Feed(*session, "HEAD /v2 HTTP/1.1\r\nHost: h\r\n\r\n");
  host.Reply(Head(200, {{"content-length", "2"}}));
  host.Reply(Body("", true));
  Drain(*session);
  Feed(*session, "GET / HTTP/1.1\r\n\r\n");
  EXPECT_THAT(Drain(*session), AllOf(StartsWith("HTTP/1.1 400 "), EndsWith("}")));
}

TEST_F(HttpSessionTest, TellsTheControlPlaneWhenItsClientLeavesAStream) {
  Feed(*session, "GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n");
  host.Reply(Head(200, {}));
  host.Reply(Body("first", false));
  Drain(*session);
  session->InputEnded();
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(host.forgotten(), std::vector<uint64_t>{host.asked()[0].first});
}

TEST_F(HttpSessionTest, IsUtf8WhenWhatTheClientSentIsNot) {
  Feed(*session, Post("/v2/models/a%ffb%C3c/infer", kJson));
  EXPECT_THAT(Drain(*session), HasSubstr("model 'a?b?c' is not known"));
  Feed(*session, Post("/v2/models/%E2%82%AC/infer", kJson));
  EXPECT_THAT(Drain(*session), HasSubstr("model '€' is not known"));
}

class Logging : public HttpSessionTest {
 protected:
  static WireOptions Options() {
    WireOptions options = Small();
    options.access_log_per_million = 500'000;
    return options;
  }
  Logging() : HttpSessionTest(Options()) {}
};

TEST_F(Logging, LogsItsShareWhenSampled) {
  for (int i = 0; i < 10; ++i) {
    Feed(*session, Post("/v2/models/m/infer?secret=1", kJson, "X-Request-Id: abc\r\n"));
    EXPECT_THAT(Answer(), HasSubstr("x-request-id: abc\r\n"));
  }
  ASSERT_EQ(host.logged().size(), 5u);
  const AccessRecord& record = host.logged()[0];
  EXPECT_EQ(record.method, "POST");
  EXPECT_EQ(record.target, "/v2/models/m/infer");
  EXPECT_EQ(record.request_id, "abc");
  EXPECT_EQ(record.status, 200);
  EXPECT_GT(record.bytes_in, kJson.size());
  EXPECT_GT(record.bytes_out, kReply.size());
}

TEST_F(Logging, LogsItsShareWhenEveryConnectionHasOneRequest) {
  for (int i = 0; i < 10; ++i) {
    Connect();
    Feed(*session, Infer());
    Answer();
  }
  EXPECT_EQ(host.logged().size(), 5u);
}

}  // namespace
}  // namespace falaj::wire::test

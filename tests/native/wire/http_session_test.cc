#include "wire/http_session.h"

#include "wire/http_session_fixture.h"

namespace falaj::wire::test {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

TEST_F(HttpSessionTest, AnswersInferWhenItsBytesComeInAnyPieces) {
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{100}, SIZE_MAX}) {
    EXPECT_EQ(Feed(*session, Infer(), piece), Infer().size());
    EXPECT_EQ(Drain(*session), "");
    const std::string answer = Answer();
    EXPECT_THAT(answer,
                AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("content-type: application/json\r\n"),
                      HasSubstr("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
                      HasSubstr("content-length: " + std::to_string(kReply.size()) + "\r\n"),
                      EndsWith("\r\n\r\n" + std::string(kReply))));
    EXPECT_FALSE(session->Finished());
  }
  EXPECT_EQ(holdings->requests.load(), 0);
  EXPECT_EQ(host.shares().requests(), 0);
}

TEST_F(HttpSessionTest, AnswersInOrderWhenRequestsArePipelined) {
  const std::string other = Post("/v2/models/nobody/infer", kJson);
  const std::string both = Infer() + other + Infer();
  EXPECT_EQ(Feed(*session, both), both.size());
  const std::string first = Answer();  // the second needs no model
  EXPECT_THAT(first, AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("HTTP/1.1 404 Not Found\r\n"),
                           HasSubstr("model 'nobody' is not known")));
  EXPECT_THAT(Answer(), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpSessionTest, StopsReadingWhenTooMuchIsPipelined) {
  host.model().script.CloseGate();
  ASSERT_EQ(Feed(*session, Infer()), Infer().size());
  const std::string many(20'000, 'P');
  EXPECT_LT(Feed(*session, many), many.size());
  EXPECT_FALSE(session->WantsInput());
  host.model().script.OpenGate();
  Answer();
}

TEST_F(HttpSessionTest, ReadsTheBodyWhenItIsChunked) {
  const std::string head =
      "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  std::string chunks;
  for (const char c : kJson) chunks += std::string("1;x=y\r\n") + c + "\r\n";
  const std::string request = head + chunks + "0\r\nTrailer: t\r\n\r\n";
  for (const size_t piece : {size_t{1}, size_t{5}, SIZE_MAX}) {
    ASSERT_EQ(Feed(*session, request + Infer(), piece), request.size() + Infer().size());
    EXPECT_THAT(Answer(), EndsWith(std::string(kReply)));
    EXPECT_THAT(Answer(), EndsWith(std::string(kReply))) << "what came behind it";
  }
}

TEST_F(HttpSessionTest, ReadsAnEmptyChunkedBodyHoweverItIsCut) {
  const std::string head =
      "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string_view end :
       {"0\r\n\r\n", "000\r\n\r\n", "0;x=y\r\n\r\n", "0\r\nTrailer: t\r\n\r\n"}) {
    for (size_t piece = 1; piece <= 6; ++piece) {
      const std::string request = head + std::string(end) + Infer();
      ASSERT_EQ(Feed(*session, request, piece), request.size());
      EXPECT_THAT(Drain(*session), StartsWith("HTTP/1.1 400 ")) << end << piece;
      EXPECT_THAT(Answer(), EndsWith(std::string(kReply))) << "what came behind it";
    }
  }
}

TEST_F(HttpSessionTest, AsksForTheBodyWhenTheClientExpectsThat) {
  const std::string head = Infer("Expect: 100-continue\r\n");
  ASSERT_EQ(Feed(*session, head.substr(0, head.size() - kJson.size())), head.size() - kJson.size());
  EXPECT_EQ(Drain(*session), "HTTP/1.1 100 Continue\r\n\r\n");
  Feed(*session, kJson);
  EXPECT_THAT(Answer(), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpSessionTest, RefusesTheBodyBeforeItComesWhenItIsAnnouncedTooLarge) {
  Feed(*session,
       "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 4097\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(Drain(*session), AllOf(StartsWith("HTTP/1.1 413 "), HasSubstr("connection: close\r\n"),
                                     HasSubstr("4096 bytes")));
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(Refused(Refusal::kBodySize), 1u);
}

struct Refusing {
  const char* name;
  std::string request;
  int status;
};
class RefusedRequest : public HttpSessionTest, public testing::WithParamInterface<Refusing> {};

TEST_P(RefusedRequest, GetsItsStatusAndTheConnectionEnds) {
  Feed(*session, GetParam().request);
  const std::string answer = Drain(*session);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 " + std::to_string(GetParam().status) + " "));
  EXPECT_THAT(answer, AllOf(HasSubstr("connection: close\r\n"), HasSubstr("{\"error\":\"")));
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(host.shares().requests(), 0);
}

const std::string kStart = "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\n";
INSTANTIATE_TEST_SUITE_P(
    Http, RefusedRequest,
    testing::Values(Refusing{"tls", std::string("\x16\x03\x01\x02\x00", 5), 400},
                    Refusing{"no_http", "HELLO\r\n\r\n", 400},
                    Refusing{"http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
                    Refusing{"no_host", "GET / HTTP/1.1\r\n\r\n", 400},
                    Refusing{"two_hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
                    Refusing{"long_head", kStart + "X: " + std::string(600, 'x') + "\r\n\r\n", 431},
                    Refusing{"endless_head", kStart + std::string(600, 'x'), 431},
                    Refusing{"long_body", kStart + "Content-Length: 4097\r\n\r\n", 413},
                    Refusing{"huge_body", kStart + "Content-Length: 99999999999999999999\r\n\r\n", 400},
                    Refusing{"negative_body", kStart + "Content-Length: -1\r\n\r\n", 400},
                    Refusing{"two_lengths", kStart + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
                    Refusing{"smuggled",
                             kStart + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                             400},
                    Refusing{"unknown_coding", kStart + "Transfer-Encoding: br\r\n\r\n", 501},
                    Refusing{"long_chunks",
                             kStart + "Transfer-Encoding: chunked\r\n\r\n1001\r\n" + std::string(4097, 'x') +
                                 "\r\n0\r\n\r\n",
                             413},
                    Refusing{"bad_chunk", kStart + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
                    Refusing{"expects", kStart + "Expect: miracles\r\nContent-Length: 0\r\n\r\n", 417}),
    [](const auto& info) { return info.param.name; });

TEST_F(HttpSessionTest, ClosesWhenTheClientAsksForThat) {
  Feed(*session, Infer("Connection: close\r\n"));
  EXPECT_THAT(Answer(), HasSubstr("connection: close\r\n"));
  EXPECT_TRUE(session->Finished());
}

TEST_F(HttpSessionTest, KeepsTheConnectionWhenAnOldClientAsksForThat) {
  std::string request = Infer("Connection: keep-alive\r\n");
  request.replace(request.find("HTTP/1.1"), 8, "HTTP/1.0");
  Feed(*session, request);
  EXPECT_THAT(Answer(), HasSubstr("connection: keep-alive\r\n"));
  EXPECT_FALSE(session->Finished());
}

TEST_F(HttpSessionTest, TellsClientsToGoElsewhereWhenTheServerIsDraining) {
  host.StartDraining();
  Feed(*session, Infer());
  EXPECT_THAT(Answer(), HasSubstr("connection: close\r\n"));
  EXPECT_TRUE(session->Finished());
}

TEST_F(HttpSessionTest, AnswersWhatIsUnderWayWhenDrained) {
  host.model().script.CloseGate();
  Feed(*session, Infer());
  host.EndTurn();
  session->Drain();
  EXPECT_FALSE(session->Finished());
  host.model().script.OpenGate();
  EXPECT_THAT(Answer(), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(session->Finished());
  Connect();
  session->Drain();
  EXPECT_TRUE(session->Finished()) << "an idle connection ends at once";
}

TEST_F(HttpSessionTest, WithdrawsTheRequestWhenItsClientLeaves) {
  host.model().script.CloseGate();
  Feed(*session, Infer());
  host.EndTurn();
  session->InputEnded();
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(host.counters(Wire::kHttp).cancelled.Get(), 1u);
  EXPECT_EQ(host.shares().requests(), 0);
  session.reset();
  host.Deliver(1);  // its waiter outlives the session
  EXPECT_EQ(host.model().batcher->Stats().admission.cancelled, 1u);
}

TEST_F(HttpSessionTest, AsksForEverythingWhenItIsTheAdministrators) {
  Connect(Listener::kAdmin);
  Feed(*session, Infer());
  EXPECT_EQ(host.asked().size(), 1u);
  EXPECT_EQ(host.asked()[0].second.listener, Listener::kAdmin);
  EXPECT_EQ(host.asked()[0].second.body, kJson);
}

TEST_F(HttpSessionTest, EndsWhenNothingComesForLong) {
  host.Advance(std::chrono::seconds(119));
  session->Tick();
  EXPECT_FALSE(session->Finished());
  host.Advance(std::chrono::seconds(2));
  session->Tick();
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(Drain(*session), "");
  EXPECT_EQ(Refused(Refusal::kIdleTimeout), 1u);
}

TEST_F(HttpSessionTest, EndsWhenTheHeadComesSlowly) {
  for (const char c : std::string_view("GET / HTTP/1.1")) {
    Feed(*session, std::string_view(&c, 1));
    host.Advance(std::chrono::seconds(1));
    session->Tick();
  }
  EXPECT_THAT(Drain(*session), StartsWith("HTTP/1.1 408 Request Timeout\r\n"));
  EXPECT_TRUE(session->Finished());
  EXPECT_EQ(Refused(Refusal::kHeaderTimeout), 1u);
}

TEST_F(HttpSessionTest, EndsWhenTheBodyStallsOrTrickles) {
  const std::string request = Infer();
  Feed(*session, request.substr(0, request.size() - 40));
  host.Advance(std::chrono::seconds(31));
  session->Tick();
  EXPECT_THAT(Drain(*session), StartsWith("HTTP/1.1 408 "));
  EXPECT_EQ(Refused(Refusal::kBodyTimeout), 1u);
  Connect();
  Feed(*session, request.substr(0, request.size() - 40));
  for (int i = 0; i < 39 && !session->Finished(); ++i) {
    Feed(*session, " ");
    host.Advance(std::chrono::seconds(1));
    session->Tick();
    Drain(*session);
  }
  EXPECT_TRUE(session->Finished()) << "a byte a second is no way to send a body";
}

class FewRequests : public HttpSessionTest {
 protected:
  static WireOptions Options() {
    WireOptions options = Small();
    options.max_requests_in_flight = 1;
    return options;
  }
  FewRequests() : HttpSessionTest(Options()) {}
};

TEST_F(FewRequests, RefusesAndKeepsTheConnectionWhenTooManyAreUnderWay) {
  host.model().script.CloseGate();
  Feed(*session, Infer());
  HttpSession other(host, carrier, Peer{"192.0.2.2", 1, false, ""}, std::make_shared<ClientHoldings>(), codec,
                    Listener::kHttp);
  Feed(other, Infer());
  EXPECT_THAT(Drain(other), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("retry-after: 1\r\n"),
                                  testing::Not(HasSubstr("connection: close"))));
  host.model().script.OpenGate();
  Answer();
  Feed(other, Infer());
  host.Deliver(1);
  EXPECT_THAT(Drain(other), StartsWith("HTTP/1.1 200"));
}

TEST(ParseInferTarget, FindsModelAndVersionWhenItIsOne) {
  const auto parsed = ParseInferTarget("/v2/models/a%2Fb%zz/versions/12/infer?x");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->model, "a/b%zz");
  EXPECT_EQ(parsed->version, 12);
  EXPECT_EQ(ParseInferTarget("/v2/models/m/infer")->version, 0);
  EXPECT_EQ(ParseInferTarget("/v2/models/m/versions/x/infer")->version, std::nullopt);
  EXPECT_EQ(ParseInferTarget("/v2/models/m/versions/0/infer")->version, std::nullopt);
  for (const char* other :
       {"/v2/models/infer", "/v2/models//infer", "/v2/models/m/versions//infer", "/v2/models/m",
        "/v2/models/m/n/infer", "/v2/models/m/versions/1/2/infer", "/infer", ""}) {
    EXPECT_FALSE(ParseInferTarget(other)) << other;
  }
}

}  // namespace
}  // namespace falaj::wire::test

// What is one request to us and could be two to somebody in front of us, or none.
#include "wire/http_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/http_session_fixture.h"

namespace falaj::wire::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

struct HeadText {
  const char* name;
  std::string text;  // from the request line on
};
class RefusedHead : public testing::TestWithParam<HeadText> {};

TEST_P(RefusedHead, IsAFaultAndNoRequest) {
  HttpParser parser(16 * 1024, 1 << 20);
  std::optional<HttpFault> fault;
  parser.ReadHead(GetParam().text, fault);
  ASSERT_TRUE(fault);
  EXPECT_THAT(fault->status, testing::AnyOf(400, 501, 505)) << fault->message;
}

std::string Fields(const std::string& fields) {
  return "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n";
}

INSTANTIATE_TEST_SUITE_P(
    Http, RefusedHead,
    testing::Values(
        HeadText{"length_and_chunks", Fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")},
        HeadText{"chunks_and_length", Fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")},
        HeadText{"two_lengths", Fields("Content-Length: 5\r\nContent-Length: 6\r\n")},
        HeadText{"list_of_lengths", Fields("Content-Length: 5, 6\r\n")},
        HeadText{"signed_length", Fields("Content-Length: +5\r\n")},
        HeadText{"hex_length", Fields("Content-Length: 0x5\r\n")},
        HeadText{"no_length", Fields("Content-Length: \r\n")},
        HeadText{"length_past_64_bits", Fields("Content-Length: 18446744073709551616\r\n")},
        HeadText{"two_codings", Fields("Transfer-Encoding: gzip, chunked\r\n")},
        HeadText{"chunked_twice", Fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")},
        HeadText{"chunked_and_identity",
                 Fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")},
        HeadText{"coding_in_quotes", Fields("Transfer-Encoding: \"chunked\"\r\n")},
        HeadText{"coding_with_vertical_tab", Fields("Transfer-Encoding: \vchunked\r\n")},
        HeadText{"chunks_of_an_old_client", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
        HeadText{"folded_field", Fields("X-Request-Id: a\r\n b\r\n")},
        HeadText{"folded_with_tab", Fields("X-Request-Id: a\r\n\tb\r\n")},
        HeadText{"folded_from_nothing", Fields("Transfer-Encoding:\r\n chunked\r\n")},
        HeadText{"folded_into_nothing", Fields("X-Request-Id: a\r\n \r\n")},
        HeadText{"folded_request_line", "GET / HTTP/1.1\r\n Host: h\r\n\r\n"},
        HeadText{"space_before_colon", Fields("Content-Length : 5\r\n")},
        HeadText{"space_before_name", Fields("X: y\r\n Content-Length: 5\r\n")},
        HeadText{"no_colon", Fields("Content-Length\r\n")}, HeadText{"no_name", Fields(": 5\r\n")},
        HeadText{"zero_byte_in_value", Fields(std::string("X: a\0b\r\n", 8))},
        HeadText{"zero_byte_in_name", Fields(std::string("X\0: a\r\n", 7))},
        HeadText{"zero_byte_in_target", std::string("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", 28)},
        HeadText{"line_feed_in_value", Fields("X: a\nContent-Length: 5\r\n")},
        HeadText{"carriage_return_in_value", Fields("X: a\rContent-Length: 5\r\n")},
        HeadText{"line_feeds_only", "GET / HTTP/1.1\nHost: h\n\r\n\r\n"},
        HeadText{"two_hosts", Fields("Host: other\r\n")}, HeadText{"no_version", "GET /\r\nHost: h\r\n\r\n"},
        HeadText{"other_version", "GET / HTTP/1.2\r\nHost: h\r\n\r\n"},
        HeadText{"space_in_target", "GET / / HTTP/1.1\r\nHost: h\r\n\r\n"},
        HeadText{"tab_for_space", "GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n"}),
    [](const auto& info) { return info.param.name; });

TEST(HttpParser, KeepsViewsOfWhatItWasGivenWhenItReads) {
  const std::string text = Fields("A:1\r\nB: \t 2 \r\nC:\r\n");
  HttpParser parser(16 * 1024, 1 << 20);
  std::optional<HttpFault> fault;
  EXPECT_EQ(parser.ReadHead(text, fault), text.size());
  EXPECT_THAT(parser.head().fields, ElementsAre(std::pair("Host", "h"), std::pair("A", "1"),
                                                std::pair("B", "2"), std::pair("C", "")));
  for (const auto& [name, value] : parser.head().fields) {
    for (const std::string_view part : {name, value}) {
      EXPECT_GE(part.data(), text.data());
      EXPECT_LE(part.data() + part.size(), text.data() + text.size());
    }
  }
  parser.FreeMemory();
  EXPECT_THAT(parser.head().fields, IsEmpty());
}

// What stands behind a chunked body came through no proxy that looked at it.
TEST_F(HttpSessionTest, IgnoresTrailersWhenTheyNameFieldsThatMatter) {
  const std::string chunked = "Host: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string trailers = "0\r\nContent-Encoding: br\r\nX-Request-Id: smuggled\r\n\r\n";
  char size[8];
  std::snprintf(size, sizeof(size), "%zx\r\n", kJson.size());
  Feed(*session,
       "POST /v2/models/m/infer HTTP/1.1\r\n" + chunked + size + std::string(kJson) + "\r\n" + trailers);
  const std::string answer = Answer();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, testing::Not(testing::HasSubstr("smuggled")));
  Feed(*session, "POST /v2 HTTP/1.1\r\n" + chunked + trailers);
  ASSERT_EQ(host.asked().size(), 1u);
  EXPECT_THAT(host.asked()[0].second.headers,
              ElementsAre(std::pair("host", "h"), std::pair("transfer-encoding", "chunked")));
  host.Reply(Head(200, {}));
  host.Reply(Body("", true));
  EXPECT_THAT(Drain(*session), StartsWith("HTTP/1.1 200"));
}

// Found by the fuzzer: what came in one piece was read, the same in two was refused.
TEST(HttpParserTest, RefusesLongTrailersWhenTheyCameInOnePiece) {
  HttpParser parser(256, 1 << 20);
  std::optional<HttpFault> fault;
  parser.ReadHead(Fields("Transfer-Encoding: chunked\r\n"), fault);
  ASSERT_FALSE(fault);
  std::string body;
  parser.ReadChunks("0\r\nx: " + std::string(300, 'y') + "\r\n\r\n", body, fault);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->status, 400);
}

// Found by the fuzzer: what came in one piece was waited for, the same in two was refused.
TEST(HttpParserTest, WaitsForTheEndOfALargeChunksHeadHoweverItIsCut) {
  const std::string chunk = "FFFFFFFFFFFFFFFF;a=\"b\r\nc";
  for (size_t cut = 1; cut <= chunk.size(); ++cut) {
    HttpParser parser(256, 1 << 20);
    std::optional<HttpFault> fault;
    parser.ReadHead(Fields("Transfer-Encoding: chunked\r\n"), fault);
    std::string body;
    EXPECT_EQ(parser.ReadChunks(chunk.substr(0, cut), body, fault), 0u);
    EXPECT_EQ(parser.ReadChunks(chunk, body, fault), 0u);
    EXPECT_FALSE(fault) << cut << ": " << fault->message;
    parser.ReadChunks(chunk + "\"\r\n", body, fault);
    ASSERT_TRUE(fault) << cut;
    EXPECT_EQ(fault->status, 400) << "a line ends within its quotes";
  }
}

}  // namespace
}  // namespace falaj::wire::test

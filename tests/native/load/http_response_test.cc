#include "load/http_response.h"

#include <gtest/gtest.h>

#include <string>

namespace falaj::load {
namespace {

using State = HttpResponse::State;

// Feeds an answer in pieces of a size; returns what was left over.
size_t Feed(HttpResponse& response, std::string_view bytes, size_t piece) {
  while (!bytes.empty()) {
    const std::string_view next = bytes.substr(0, piece);
    const size_t taken = response.Take(next);
    bytes.remove_prefix(taken);
    if (taken < next.size()) break;
  }
  return bytes.size();
}

struct Case {
  const char* name;
  const char* bytes;
  int status;
  size_t body_bytes;
  const char* body;  // as it is kept
  bool closes;
};

class HttpResponses : public testing::TestWithParam<Case> {};

TEST_P(HttpResponses, AreTakenWhole_WhenTheyComeInAnyPieces) {
  const Case& of = GetParam();
  for (size_t piece = 1; piece <= std::string_view(of.bytes).size(); ++piece) {
    HttpResponse response(100);
    for (int again = 0; again < 2; ++again) {
      EXPECT_EQ(Feed(response, of.bytes, piece), 0U) << piece;
      ASSERT_EQ(response.state(), State::kComplete) << piece << ": " << response.problem();
      EXPECT_EQ(response.status(), of.status);
      EXPECT_EQ(response.body_bytes(), of.body_bytes);
      EXPECT_EQ(response.body(), of.body);
      EXPECT_EQ(response.closes(), of.closes);
      response.Clear();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, HttpResponses,
    testing::Values(
        Case{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5, "hello", false},
        Case{"none", "HTTP/1.1 200 OK\r\ncontent-length:0\r\nConnection: close\r\n\r\n", 200, 0, "", true},
        Case{"no_content", "HTTP/1.1 204 No Content\r\n\r\n", 204, 0, "", false},
        Case{"chunks",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 200,
             5, "hello", false},
        Case{"trailers",
             "HTTP/1.1 500 No\r\nTransfer-Encoding: Chunked\r\n\r\n0A\r\n0123456789\r\n0\r\nA: b\r\n\r\n",
             500, 10, "0123456789", false},
        Case{"interim",
             "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
             200, 2, "ok", false},
        Case{"old", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, 1, "x", true},
        Case{"old_kept", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\nx", 200, 1,
             "x", false}),
    [](const auto& info) { return info.param.name; });

TEST(HttpResponse, IsMalformed_WhenItBreaksARule) {
  const auto problem = [](const std::string& bytes) {
    HttpResponse response;
    Feed(response, bytes, 7);
    return response.state() == State::kMalformed ? std::string(response.problem()) : "";
  };
  const std::string ok = "HTTP/1.1 200 OK\r\n", chunked = ok + "Transfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(problem("SSH-2.0\r\n\r\n"), "an answer does not begin as HTTP/1.1");
  EXPECT_EQ(problem("HTTP/1.1 99 OK\r\n\r\n"), "an answer does not begin as HTTP/1.1");
  EXPECT_EQ(problem("HTTP/1.1"), "");  // so far
  EXPECT_EQ(problem("HTTP/1.1\r\n\r\n"), "an answer does not begin as HTTP/1.1");
  EXPECT_EQ(problem("HTTP/1.1 101 Switching\r\n\r\n"), "an answer leaves HTTP");
  const std::string no_length = "an answer has no Content-Length that is a number, and no chunks";
  EXPECT_EQ(problem(ok + "\r\n"), no_length);
  EXPECT_EQ(problem(ok + "Content-Length: -1\r\n\r\n"), no_length);
  EXPECT_EQ(problem(ok + "Content-Length: 99999999999999999999\r\n\r\n"), no_length);
  EXPECT_EQ(problem(ok + "Content-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\n"), no_length);
  EXPECT_EQ(problem(chunked + "x\r\n"), "a chunk of an answer has no size");
  EXPECT_EQ(problem(chunked + "fffffffffffffffff\r\n"), "a chunk of an answer has no size");
  EXPECT_EQ(problem(chunked + "1\r\nab\r\n"), "a chunk of an answer is longer than it says");
  EXPECT_EQ(problem(chunked + "1\n"), "a line between the chunks of an answer ends without CR");
  EXPECT_EQ(problem(chunked + std::string(20'000, '0')),
            "a line between the chunks of an answer does not end");
  std::string trailers = chunked + "0\r\n";
  for (int i = 0; i < 2000; ++i) trailers += "a: 0123456789\r\n";
  EXPECT_EQ(problem(trailers), "the trailers of an answer do not end");
  EXPECT_EQ(problem(std::string(20'000, 'x')), "the head of an answer does not end");
}

TEST(HttpResponse, CountsWithoutWrapping_WhenChunksSayTheyAreEndless) {
  HttpResponse response;
  const std::string head =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nffffffffffffffff\r\n";
  Feed(response, head, head.size());
  EXPECT_EQ(response.state(), State::kMalformed);
}

TEST(HttpResponse, KeepsABoundedPart_WhenABodyIsLong) {
  HttpResponse good(10), bad(10);
  Feed(good, "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + std::string(4000, 'x'), 1000);
  EXPECT_EQ(good.body().size(), 10U);
  EXPECT_EQ(good.body_bytes(), 4000U);
  Feed(bad, "HTTP/1.1 400 Bad\r\nContent-Length: 4000\r\n\r\n" + std::string(4000, 'x'), 1000);
  EXPECT_EQ(bad.body().size(), 512U);
}

TEST(HttpResponse, LeavesTheRest_WhenMoreFollows) {
  HttpResponse response;
  EXPECT_EQ(Feed(response, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP", 100), 4U);
  EXPECT_EQ(response.state(), State::kComplete);
}

}  // namespace
}  // namespace falaj::load

#include "load/load_run.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "load/exchange.h"

namespace falaj::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Answers each request, a thread a connection, until it is destroyed.
class LoopbackServer {
 public:
  LoopbackServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_.get(), raw, length), 0);
    EXPECT_EQ(listen(listener_.get(), 64), 0);
    EXPECT_EQ(getsockname(listener_.get(), raw, &length), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Accept(); });
  }
  ~LoopbackServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    for (std::thread& thread : threads_) thread.join();  // their clients are gone
  }

  uint16_t port() const { return port_; }
  uint64_t answered() const { return answered_.load(); }

 private:
  void Accept() {
    for (int fd = accept(listener_.get(), nullptr, nullptr); fd >= 0;
         fd = accept(listener_.get(), nullptr, nullptr)) {
      threads_.emplace_back([this, fd] { Serve(FileDescriptor(fd)); });
    }
  }
  void Serve(const FileDescriptor& client) {
    constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    std::string input;
    std::array<char, 4096> room{};
    for (ssize_t count = 1; (count = recv(client.get(), room.data(), room.size(), 0)) > 0;) {
      input.append(room.data(), static_cast<size_t>(count));
      if (!input.ends_with("body")) continue;
      input.clear();
      answered_.fetch_add(1);
      if (send(client.get(), kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL) < 0) return;
    }
  }

  const FileDescriptor listener_;
  uint16_t port_ = 0;
  std::atomic<uint64_t> answered_{0};
  std::thread thread_;
  std::vector<std::thread> threads_;  // the accepting thread's until it is joined
};

std::shared_ptr<const Target> TargetAt(uint16_t port) {
  TargetOptions options;
  options.host = "127.0.0.1";
  options.port = port;
  options.path = "/";
  options.payloads = {{{}, "a body"}, {{{"X-Other", "1"}}, "another body"}};
  options.keep = 16;
  return *Target::Make(std::move(options));
}

RunOptions Quick(Pace pace) {
  RunOptions options;
  options.pace = pace;
  options.rate = 500;
  options.concurrency = 5;
  options.threads = 2;
  options.warm_up = milliseconds(0);
  options.window = milliseconds(40);
  return options;
}

class LoadRuns : public testing::TestWithParam<Pace> {};

TEST_P(LoadRuns, CountEachAnswerOnce_WhenWindowsAreTaken) {
  LoopbackServer server;
  auto run = LoadRun::Start(TargetAt(server.port()), Quick(GetParam()));
  ASSERT_TRUE(run.ok()) << run.status().message();
  uint64_t answered = 0;
  for (int i = 0; i < 3; ++i) {
    const auto window = (*run)->Next(steady_clock::now() + std::chrono::seconds(10));
    ASSERT_TRUE(window.has_value());
    EXPECT_EQ(window->tally.errors.total(), 0U);
    EXPECT_EQ(window->tally.latency.count(), window->tally.answered);
    EXPECT_GT(window->seconds, 0);
    EXPECT_GT(window->cpu_seconds, 0);
    answered += window->tally.answered;
  }
  const Window rest = (*run)->Stop(std::chrono::seconds(10));
  EXPECT_EQ(rest.tally.errors.total(), 0U);
  // The warm-up, of no length, may have had the first of each connection.
  EXPECT_LE(answered + rest.tally.answered, server.answered());
  EXPECT_GE(answered + rest.tally.answered + 5, server.answered());
  EXPECT_GT(answered, 0U);
}

INSTANTIATE_TEST_SUITE_P(All, LoadRuns, testing::Values(Pace::kClosed, Pace::kPoisson, Pace::kConstant));

class SequenceRuns : public testing::TestWithParam<Pace> {};

TEST_P(SequenceRuns, EndWhatTheyBegan_WhenTheyAreStopped) {
  LoopbackServer server;
  using What = Place::What;
  TargetOptions asked;
  asked.host = "127.0.0.1";
  asked.port = server.port();
  asked.path = "/";
  asked.payloads = {{{},
                     "false,false,                   0 body",
                     {{.what = What::kStart, .as_text = true},
                      {.what = What::kEnd, .as_text = true, .at = 6},
                      {.what = What::kSequence, .as_text = true, .at = 12}}}};
  auto target = Target::Make(std::move(asked));
  ASSERT_TRUE(target.ok()) << target.status().message();
  RunOptions options = Quick(GetParam());
  options.sequences = {.live = 3, .least_length = 2, .most_length = 4, .first_id = 1, .ids = 20};
  auto run = LoadRun::Start(*target, options);
  ASSERT_TRUE(run.ok()) << run.status().message();
  const auto window = (*run)->Next(steady_clock::now() + std::chrono::seconds(10));
  ASSERT_TRUE(window.has_value());
  EXPECT_GT(window->tally.sequences, 0U);
  EXPECT_GE(window->tally.answered, window->tally.sequences * 2 - 5);  // those that began before it
  const Window rest = (*run)->Stop(std::chrono::seconds(10));
  EXPECT_EQ(rest.tally.errors.total(), 0U);
  EXPECT_EQ(rest.sequences_left, 0U);
}

INSTANTIATE_TEST_SUITE_P(All, SequenceRuns, testing::Values(Pace::kClosed, Pace::kPoisson));

TEST(LoadRun, IsRefused_WhenItsSequencesMakeNoSense) {
  const auto message = [](const SequenceOptions& sequences) {
    RunOptions options = Quick(Pace::kPoisson);
    options.sequences = sequences;
    const auto run = LoadRun::Start(TargetAt(1), options);
    return run.ok() ? "" : run.status().message();
  };
  EXPECT_EQ(message({.live = 0}), "sequences: expected at least 1");
  EXPECT_NE(message({.live = 3, .ids = 2}).find("expected at least 3"), std::string::npos);
  EXPECT_NE(message({.live = 70'000, .ids = 70'000}).find("expected 1 to 65536"), std::string::npos);
  EXPECT_NE(message({.first_id = 0}).find("expected 1 to 2^64 - 1"), std::string::npos);
  EXPECT_NE(message({.first_id = 2, .ids = UINT64_MAX}).find("expected 1 to 2^64 - 1"), std::string::npos);
  EXPECT_NE(message({.least_length = 3, .most_length = 2}).find("length of sequences"), std::string::npos);
}

TEST(LoadRun, EndsAtOnce_WhenItIsDestroyedWhileItRuns) {
  LoopbackServer server;
  auto run = LoadRun::Start(TargetAt(server.port()), Quick(Pace::kClosed));
  ASSERT_TRUE(run.ok());
  EXPECT_FALSE((*run)->Next(steady_clock::now()).has_value());
}

TEST(LoadRun, SaysWhy_WhenNobodyListens) {
  uint16_t port = 0;
  { port = LoopbackServer().port(); }
  const auto run = LoadRun::Start(TargetAt(port), Quick(Pace::kClosed));
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.status().code(), Code::kUnavailable);
  EXPECT_EQ(run.status().message(),
            "cannot connect to 127.0.0.1:" + std::to_string(port) + ": Connection refused");
}

TEST(Exchange, ReturnsTheBody_WhenItIsNotTooLong) {
  LoopbackServer server;
  const auto reply = Exchange(TargetAt(server.port()), std::chrono::seconds(10));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply.value().status, 200);
  EXPECT_EQ(reply.value().body, "ok");
}

TEST(Target, IsRefused_WhenItsHeadCouldNotBeWritten) {
  const auto message = [](Fields headers, std::string path) {
    TargetOptions options;
    options.host = "127.0.0.1";
    options.port = 1;
    options.path = std::move(path);
    options.headers = std::move(headers);
    options.payloads = {{{}, ""}};
    const auto made = Target::Make(std::move(options));
    return made.ok() ? "" : made.status().message();
  };
  EXPECT_EQ(message({{"a-b", "c d"}}, "/v2"), "");
  EXPECT_NE(message({{"a b", "c"}}, "/v2"), "");
  EXPECT_NE(message({{"a", "b\r\nc: d"}}, "/v2"), "");
  EXPECT_NE(message({}, "/v2 HTTP/1.1"), "");
  EXPECT_NE(message({}, "v2"), "");
}

}  // namespace
}  // namespace falaj::load

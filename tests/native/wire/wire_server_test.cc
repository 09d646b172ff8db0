// The front end with its threads and sockets: what only a real network brings about.
#include "wire/wire_server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "fakes/model_fixture.h"
#include "wire/loopback_client.h"

namespace falaj::wire {
namespace {

using falaj::test::DefaultOptions;
using falaj::test::ModelFixture;
using falaj::test::Spec;
using test::LoopbackClient;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::string_view kJson =
    R"({"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2.5]}]})";
constexpr std::string_view kValues = "\"data\":[3,6]";

std::string Infer(std::string_view fields = "") {
  return "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\n" + std::string(fields) +
         "Content-Length: " + std::to_string(kJson.size()) + "\r\n\r\n" + std::string(kJson);
}

BatcherOptions Model() { return DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})}); }

WireOptions Options() {
  WireOptions options;
  options.http.header_timeout = std::chrono::seconds(5);
  return options;
}

// Waits, without an end of its own: ctest has one.
template <typename Condition>
void Await(Condition condition) {
  while (!condition()) std::this_thread::yield();
}

class WireServerTest : public testing::Test {
 protected:
  explicit WireServerTest(WireOptions options = Options(), BatcherOptions of_model = Model())
      : model(std::move(of_model)), server(std::move(options), table) {
    auto entries = std::make_shared<ModelEntries>();
    (*entries)["m"] = {{{3, model.batcher}}, model.batcher, ""};
    table.Publish(std::move(entries));
  }
  ~WireServerTest() override {
    model.script.OpenGate();
    server.Close();
  }
  void Listen() {
    const Status status = server.Listen(Wire::kHttp, "127.0.0.1", port);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  void Serve() {
    Listen();
    server.Start();
  }
  uint64_t Counted(Counter WireCounters::*counter) const {
    uint64_t total = 0;
    for (const auto& thread : server.threads()) total += (thread->counters_of(Wire::kHttp).*counter).Get();
    return total;
  }

  ModelFixture model;
  ModelTable table;
  WireServer server;
  uint16_t port = 0;
};

TEST_F(WireServerTest, AnswersWhenAskedOverItsSocket) {
  Serve();
  LoopbackClient client(port);
  client.Send(Infer());
  EXPECT_THAT(client.ReadUntil("}]}"), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr(kValues)));
}

class ShortWork : public WireServerTest {
 protected:
  static BatcherOptions InPlace() {
    BatcherOptions options = Model();
    options.run_on_submitter = true;
    options.short_work = std::chrono::seconds(1);
    return options;
  }
  ShortWork() : WireServerTest(Options(), InPlace()) {
    model.batcher->Learn(1, std::chrono::microseconds(1));
  }
};

// The session is destroyed at the end of a turn, and until then may be handed the answer.
TEST_F(ShortWork, SurvivesWhenTheClientResetsInTheTurnOfItsRequest) {
  Listen();
  for (int i = 0; i < 50; ++i) {
    LoopbackClient client(port);
    client.Send(Infer());
    client.Reset();
  }
  server.Start();
  LoopbackClient client(port);
  client.Send(Infer());
  EXPECT_THAT(client.ReadUntil("}]}"), HasSubstr(kValues));
  Await([&] { return server.connections() == 1; });
  Await([&] { return server.requests() == 0; });
}

TEST_F(WireServerTest, CancelsAndEndsWhenClosedWithRequestsInFlight) {
  Serve();
  model.script.CloseGate();
  std::vector<LoopbackClient> clients;
  for (int i = 0; i < 5; ++i) {
    clients.emplace_back(port);
    clients.back().Send(Infer());
  }
  model.script.WaitUntilEntered(1);
  Await([&] { return server.requests() == 5; });
  auto closed = std::async(std::launch::async, [&] { server.Close(); });
  ASSERT_EQ(closed.wait_for(std::chrono::seconds(20)), std::future_status::ready) << "Close never returns";
  EXPECT_EQ(server.connections(), 0);
  EXPECT_EQ(server.requests(), 0);
  for (LoopbackClient& client : clients) EXPECT_EQ(client.ReadAll(), "");
}

TEST_F(WireServerTest, WithdrawsTheRequestWhenItsClientLeavesThoughItAskedToClose) {
  Serve();
  model.script.CloseGate();
  {
    LoopbackClient client(port);
    client.Send(Infer("Connection: close\r\n"));
    model.script.WaitUntilEntered(1);
  }
  Await([&] { return Counted(&WireCounters::cancelled) == 1; });
  Await([&] { return server.connections() == 0 && server.requests() == 0; });
}

TEST_F(WireServerTest, IgnoresWhatIsCalledOutOfTurn) {
  Serve();
  server.Start();
  uint16_t other = 0;
  EXPECT_EQ(server.Listen(Wire::kHttp, "127.0.0.1", other).code(), Code::kUnavailable);
  server.Close();
  server.Close();
  server.Start();
  EXPECT_FALSE(LoopbackClient(port).connected());
}

TEST_F(WireServerTest, FreesItsPortWhenClosedBeforeItWasStarted) {
  Listen();
  EXPECT_TRUE(LoopbackClient(port).connected());
  server.Close();
  EXPECT_FALSE(LoopbackClient(port).connected());
}

// A process that a model forked has every socket of ours open.
TEST_F(WireServerTest, EndsConnectionsWhenAForkedProcessHoldsTheirSockets) {
  Serve();
  LoopbackClient client(port);
  client.Send(Infer());
  client.ReadUntil("}]}");
  int hold[2];
  ASSERT_EQ(pipe(hold), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(hold[1]);
    char nothing = 0;
    _exit(read(hold[0], &nothing, 1) == 0 ? 0 : 1);  // until the test closes its end
  }
  close(hold[0]);
  server.Close();
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_FALSE(LoopbackClient(port).connected());
  close(hold[1]);
}

class UnixSocket : public WireServerTest {
 protected:
  ~UnixSocket() override { std::filesystem::remove_all(folder); }
  static std::string NewFolder() {
    std::string name = std::filesystem::temp_directory_path() / "falaj-XXXXXX";
    return mkdtemp(name.data());
  }
  const std::string folder = NewFolder();
  const std::string path = folder + "/socket";
};

TEST_F(UnixSocket, ServesAndIsRemovedWhateverPortWasNamed) {
  for (uint16_t named : {uint16_t{0}, uint16_t{8000}}) {
    WireServer own(Options(), table);
    ASSERT_TRUE(own.Listen(Wire::kHttp, "unix:" + path, named).ok());
    own.Start();
    LoopbackClient client(path);
    client.Send(Infer());
    EXPECT_THAT(client.ReadUntil("}]}"), HasSubstr(kValues));
    own.Close();
    EXPECT_FALSE(std::filesystem::exists(path)) << named;
  }
}

TEST_F(UnixSocket, TakesThePathOverWhenItsOwnerWasKilled) {
  {
    const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    ASSERT_EQ(bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    close(dead);
  }
  ASSERT_TRUE(std::filesystem::exists(path));
  EXPECT_TRUE(server.Listen(Wire::kHttp, "unix:" + path, port).ok());
  WireServer other(Options(), table);
  EXPECT_THAT(other.Listen(Wire::kHttp, "unix:" + path, port).message(), HasSubstr("another process does"));
}

TEST_F(UnixSocket, LeavesAFileAloneWhenItIsNoSocket) {
  std::ofstream(path) << "weights";
  EXPECT_EQ(server.Listen(Wire::kHttp, "unix:" + path, port).code(), Code::kUnavailable);
  EXPECT_EQ(std::filesystem::file_size(path), 7u);
}

class OneConnection : public WireServerTest {
 protected:
  static WireOptions One() {
    WireOptions options = Options();
    options.max_connections = 1;
    return options;
  }
  OneConnection() : WireServerTest(One()) {}
};

TEST_F(OneConnection, TellsTheSecondClientWhenItIsOneTooMany) {
  Serve();
  const LoopbackClient first(port);
  Await([&] { return server.connections() == 1; });
  LoopbackClient second(port);
  const std::string answer = second.ReadAll();
  EXPECT_THAT(answer,
              AllOf(StartsWith("HTTP/1.1 503 Service Unavailable\r\n"), HasSubstr("retry-after: 1\r\n")));
  const std::string body = answer.substr(answer.find("\r\n\r\n") + 4);
  EXPECT_THAT(answer, HasSubstr("content-length: " + std::to_string(body.size()) + "\r\n"));
}

}  // namespace
}  // namespace falaj::wire

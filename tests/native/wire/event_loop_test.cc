#include "wire/event_loop.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <thread>

namespace falaj::wire::test {
namespace {

using Wait = EventLoop::Wait;

// Two ends of a connection. Neither blocks.
struct Pair {
  Pair() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    ours = FileDescriptor(fds[0]);
    theirs = FileDescriptor(fds[1]);
  }
  void Say(const std::string& text) const {
    EXPECT_EQ(write(theirs.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  FileDescriptor ours, theirs;
};

struct Recorder : EventLoop::Source {
  void OnEvents(uint32_t got) override {
    ++calls;
    events = got;
    if (then) then();
  }
  int calls = 0;
  uint32_t events = 0;
  std::function<void()> then;
};

class EventLoopTest : public testing::Test {
 protected:
  void Watch(Pair& pair, Recorder& recorder) {
    ASSERT_TRUE(loop_.Add(pair.ours.get(), EventLoop::kSocketEvents, &recorder));
    loop_.Turn(Wait::kNo);  // that it can be written to
    recorder.calls = 0;
  }
  EventLoop loop_;
};

TEST_F(EventLoopTest, SaysOnceThatSomethingCame) {
  Pair pair;
  Recorder recorder;
  Watch(pair, recorder);
  pair.Say("a");
  loop_.Turn(Wait::kYes);
  EXPECT_EQ(recorder.calls, 1);
  EXPECT_TRUE(recorder.events & EPOLLIN);
  loop_.Turn(Wait::kNo);
  EXPECT_EQ(recorder.calls, 1) << "nothing has changed, though nothing was read";
  pair.Say("b");
  loop_.Turn(Wait::kYes);
  EXPECT_EQ(recorder.calls, 2);
}

TEST_F(EventLoopTest, SaysThatTheOtherEndHasClosed) {
  Pair pair;
  Recorder recorder;
  Watch(pair, recorder);
  pair.theirs.Close();
  loop_.Turn(Wait::kYes);
  EXPECT_TRUE(recorder.events & EPOLLRDHUP);
}

TEST_F(EventLoopTest, CallsNoSourceThatWasRemovedInTheSameTurn) {
  Pair first, second;
  Recorder one, other;
  Watch(first, one);
  Watch(second, other);
  one.then = [&] { loop_.Remove(second.ours.get(), &other); };
  other.then = [&] { loop_.Remove(first.ours.get(), &one); };
  first.Say("a");
  second.Say("a");
  loop_.Turn(Wait::kYes);
  EXPECT_EQ(one.calls + other.calls, 1);
}

TEST_F(EventLoopTest, ForgetsADescriptorThatAnotherKeepsOpen) {
  Pair pair;
  Recorder recorder;
  Watch(pair, recorder);
  const FileDescriptor forked(dup(pair.ours.get()));
  loop_.Remove(pair.ours.get(), &recorder);
  pair.ours.Close();
  pair.Say("a");
  loop_.Turn(Wait::kNo);
  EXPECT_EQ(recorder.calls, 0);
}

TEST_F(EventLoopTest, CallsWhatOtherThreadsPostedInTheirOrder) {
  std::string called;
  std::thread other([&] {
    loop_.Post([&] { called += 'a'; });
    loop_.Post([&] {
      called += 'b';
      loop_.Post([&] { called += 'c'; });
    });
  });
  while (called != "abc") loop_.Turn(Wait::kYes);
  other.join();
}

TEST_F(EventLoopTest, StopsWaitingWhenItIsWoken) {
  std::thread other([&] { loop_.Wake(); });
  loop_.Turn(Wait::kYes);
  other.join();
}

TEST_F(EventLoopTest, CallsAtTheTimeAndNotBefore) {
  const TimePoint begin = std::chrono::steady_clock::now();
  const auto soon = begin + std::chrono::milliseconds(5);
  bool called = false;
  loop_.At(begin + std::chrono::hours(1), [] { FAIL() << "an hour early"; });
  loop_.At(soon, [&] {
    called = true;
    loop_.At(soon, [] {});  // a new one may be set within
  });
  while (!called) loop_.Turn(Wait::kYes);
  EXPECT_GE(std::chrono::steady_clock::now(), soon);
}

}  // namespace
}  // namespace falaj::wire::test

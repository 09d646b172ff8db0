#include "batch/deadline_timer.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "fakes/fake_clock.h"
#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

constexpr Nanos kTick = std::chrono::milliseconds(1);

// A model that answers nobody, by a clock that the test moves: its requests end by deadline or cancellation.
class DeadlineTimerTest : public testing::Test {
 protected:
  DeadlineTimerTest() {
    BatcherOptions options = DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})});
    options.max_queue_rows = 1 << 20;
    const ModelSignature signature = options.signature;
    auto made = Batcher::Make(std::move(options), std::make_unique<FakeBackend>(signature, &script_), &pool_,
                              &timer_, &clock_);
    EXPECT_TRUE(made.ok());
    batcher_ = std::move(made).value();
    script_.CloseGate();
  }
  ~DeadlineTimerTest() override {
    script_.OpenGate();
    batcher_->Close();
  }

  RefPtr<Request> Ask(uint64_t tag, TimePoint deadline) {
    RefPtr<Request> request = batcher_->NewRequest();
    request->sink = sink_;
    request->tag = tag;
    request->deadline = deadline;
    const Shape shape{1, 2};
    EXPECT_TRUE(batcher_->Reserve(*request, std::span(&shape, 1)).ok());
    std::fill_n(static_cast<float*>(request->inputs()[0].data), 2, 1.0f);
    batcher_->Submit(request.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
    return request;
  }

  FakeClock clock_;
  ExecutorPool pool_{1, &clock_};
  DeadlineTimer timer_{&clock_};
  Script script_;
  std::shared_ptr<CollectingSink> sink_ = std::make_shared<CollectingSink>();
  std::shared_ptr<Batcher> batcher_;
};

TEST_F(DeadlineTimerTest, EndsEachRequestAtItsDeadlineAndNotBefore) {
  const TimePoint start = clock_.Now();
  for (const uint64_t tag : {30U, 10U, 20U}) Ask(tag, start + tag * kTick);
  clock_.Advance(10 * kTick - Nanos(2));
  Ask(9, start + 10 * kTick - Nanos(1));  // the earliest now: the timer looks, and finds nothing due
  clock_.WaitUntilAsleep(start + 10 * kTick - Nanos(1));
  EXPECT_TRUE(sink_->order().empty());
  clock_.Advance(Nanos(1));
  clock_.WaitUntilAsleep(start + 10 * kTick);
  EXPECT_EQ(sink_->order(), (std::vector<uint64_t>{9}));
  clock_.Advance(Nanos(1));
  clock_.WaitUntilAsleep(start + 20 * kTick);
  EXPECT_EQ(sink_->order(), (std::vector<uint64_t>{9, 10}));
  EXPECT_EQ(timer_.size(), 2u);
  clock_.Advance(25 * kTick);
  sink_->WaitFor(4);
  EXPECT_EQ(sink_->order(), (std::vector<uint64_t>{9, 10, 20, 30}));
  EXPECT_EQ(sink_->code(30), Code::kDeadlineExceeded);
  EXPECT_EQ(timer_.size(), 0u);
}

// The timer sleeps until the far deadline, past which time does not go here: only being told can wake it.
TEST_F(DeadlineTimerTest, AnEarlierDeadlineThatComesLaterWakesIt) {
  const TimePoint start = clock_.Now();
  Ask(1, start + 1000 * kTick);
  clock_.WaitUntilAsleep(start + 1000 * kTick);
  Ask(2, start + 5 * kTick);
  clock_.Advance(5 * kTick);
  sink_->WaitFor(1);
  EXPECT_EQ(sink_->order(), (std::vector<uint64_t>{2}));
}

TEST_F(DeadlineTimerTest, ForgetsWhatIsCancelledOrAnswered) {
  const TimePoint start = clock_.Now();
  const RefPtr<Request> running = Ask(1, start + 10 * kTick);
  script_.WaitUntilEntered(1);
  const RefPtr<Request> queued = Ask(2, start + 10 * kTick);
  batcher_->Cancel(queued.get());
  EXPECT_EQ(timer_.size(), 1u);
  script_.OpenGate();
  sink_->WaitFor(2);
  EXPECT_EQ(timer_.size(), 0u);
  clock_.Advance(20 * kTick);
  EXPECT_EQ(sink_->code(1), Code::kOk);
  EXPECT_EQ(sink_->code(2), Code::kCancelled);
}

class DeadlineTimerSeeds : public DeadlineTimerTest, public testing::WithParamInterface<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Random, DeadlineTimerSeeds, testing::Range<uint64_t>(1, 21));

// Against a sorted map: what is due ends in the order of deadlines, of which many are equal, and nothing else
// ends.
TEST_P(DeadlineTimerSeeds, AgreesWithASortedMap) {
  std::mt19937_64 random(GetParam());
  std::multimap<TimePoint, RefPtr<Request>> waiting;
  std::vector<TimePoint> deadlines;  // by tag
  std::vector<TimePoint> ended;
  const auto advance = [&](Nanos by) {
    clock_.Advance(by);
    while (!waiting.empty() && waiting.begin()->first <= clock_.Now()) {
      ended.push_back(waiting.begin()->first);
      waiting.erase(waiting.begin());
    }
    sink_->WaitFor(ended.size());
  };
  const auto expect_equal = [&] {
    std::vector<TimePoint> order;
    for (const uint64_t tag : sink_->order()) order.push_back(deadlines[tag]);
    ASSERT_EQ(order, ended);
    ASSERT_EQ(timer_.size(), waiting.size());
  };
  for (int step = 0; step < 300; ++step) {
    const uint64_t dice = random() % 10;
    if (dice < 6) {
      const TimePoint deadline = clock_.Now() + Nanos(10'000 * (1 + static_cast<int64_t>(random() % 100)));
      waiting.emplace(deadline, Ask(deadlines.size(), deadline));
      deadlines.push_back(deadline);
    } else if (dice < 8 && !waiting.empty()) {
      const auto chosen = std::next(waiting.begin(), static_cast<int64_t>(random() % waiting.size()));
      ended.push_back(chosen->first);
      batcher_->Cancel(chosen->second.get());
      waiting.erase(chosen);
    } else {
      advance(Nanos(5'000 * static_cast<int64_t>(random() % 20)));
    }
    ASSERT_NO_FATAL_FAILURE(expect_equal()) << "step " << step;
  }
  advance(kTick);
  ASSERT_NO_FATAL_FAILURE(expect_equal());
  EXPECT_EQ(timer_.size(), 0u);
  for (const auto& [tag, times] : sink_->times()) EXPECT_EQ(times, 1) << tag;
}

}  // namespace
}  // namespace falaj::test

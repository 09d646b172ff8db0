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
  clock_.Advance(9 * kTick);
  clock_.Advance(1 * kTick);
  sink_->WaitFor(1);
  EXPECT_EQ(sink_->order(), (std::vector<uint64_t>{10}));
  clock_.Advance(15 * kTick);
  sink_->WaitFor(2);
  EXPECT_EQ(sink_->order(), (std::vector<uint64_t>{10, 20}));
  EXPECT_EQ(timer_.size(), 1u);
  clock_.Advance(5 * kTick);
  sink_->WaitFor(3);
  EXPECT_EQ(sink_->code(30), Code::kDeadlineExceeded);
  EXPECT_EQ(timer_.size(), 0u);
}

TEST_F(DeadlineTimerTest, AnEarlierDeadlineThatComesLaterEndsFirst) {
  const TimePoint start = clock_.Now();
  Ask(1, start + 1000 * kTick);
  Ask(2, start + 5 * kTick);
  clock_.Advance(6 * kTick);
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

// Against a sorted map: what is due ends in the order of deadlines, and nothing else ends.
TEST_F(DeadlineTimerTest, AgreesWithASortedMapOverRandomSteps) {
  std::mt19937_64 random(7);
  std::map<TimePoint, RefPtr<Request>> waiting;
  std::vector<uint64_t> ended;
  for (uint64_t step = 0; step < 4000; ++step) {
    const uint64_t dice = random() % 10;
    if (dice < 6) {
      const TimePoint deadline = clock_.Now() + Nanos(1 + static_cast<int64_t>(random() % 1'000'000));
      if (!waiting.contains(deadline)) waiting.emplace(deadline, Ask(step, deadline));
    } else if (dice < 8 && !waiting.empty()) {
      const auto chosen = std::next(waiting.begin(), static_cast<int64_t>(random() % waiting.size()));
      ended.push_back(chosen->second->tag);
      batcher_->Cancel(chosen->second.get());
      waiting.erase(chosen);
    } else {
      clock_.Advance(Nanos(static_cast<int64_t>(random() % 100'000)));
      while (!waiting.empty() && waiting.begin()->first <= clock_.Now()) {
        ended.push_back(waiting.begin()->second->tag);
        waiting.erase(waiting.begin());
      }
      sink_->WaitFor(ended.size());
    }
    ASSERT_EQ(sink_->order(), ended) << "step " << step;
    ASSERT_EQ(timer_.size(), waiting.size()) << "step " << step;
  }
}

}  // namespace
}  // namespace falaj::test

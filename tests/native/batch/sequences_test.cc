// Batcher and SequenceBook: the requests of a stateful model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "fakes/accumulator.h"
#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

SequenceId Number(uint64_t number) { return {number, ""}; }

class SequencesTest : public testing::Test {
 protected:
  explicit SequencesTest() : pool_(2, &clock_), timer_(&clock_) {}
  ~SequencesTest() override {
    script_.gate.OpenGate();
    if (batcher_) batcher_->Close();
  }

  void Make(SequenceOptions sequences, bool by_slot = false, int instances = 1) {
    BatcherOptions options = DefaultOptions({Spec("x", {-1, 1})}, {Spec("y", {-1, 1})});
    options.tells_members = true;
    options.sequences = sequences;
    options.instances = instances;
    options.run_on_submitter = true;
    options.max_queue_rows = 1 << 20;
    SequencePlan plan = AccumulatorPlan();
    plan.by_slot = by_slot;
    auto made =
        Batcher::Make(std::move(options),
                      NewSequenceBackend(std::make_unique<AccumulatorBackend>(&script_), std::move(plan)),
                      &pool_, &timer_, &clock_);
    ASSERT_TRUE(made.ok());
    batcher_ = std::move(made).value();
  }

  Result<RefPtr<Request>> Prepare(uint64_t tag, RequestSequence sequence, float x, int64_t rows = 1,
                                  TimePoint deadline = TimePoint::max()) {
    RefPtr<Request> request = batcher_->NewRequest();
    request->sink = sink_;
    request->tag = tag;
    request->sequence = std::move(sequence);
    request->deadline = deadline;
    FALAJ_RETURN_IF_ERROR(batcher_->Reserve(*request, std::vector<Shape>{Shape{rows, 1}}));
    std::fill_n(static_cast<float*>(request->inputs()[0].data), rows, x);
    return request;
  }
  RefPtr<Request> Ask(uint64_t tag, RequestSequence sequence, float x,
                      TimePoint deadline = TimePoint::max()) {
    auto request = Prepare(tag, std::move(sequence), x, 1, deadline);
    EXPECT_TRUE(request.ok()) << request.status().message();
    batcher_->Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
    return *request;
  }
  Status Refused(RequestSequence sequence, int64_t rows = 1) {
    return Prepare(0, std::move(sequence), 0, rows).status();
  }

  ShiftedClock clock_;
  ExecutorPool pool_;
  DeadlineTimer timer_;
  AccumulatorScript script_;
  std::shared_ptr<CollectingSink> sink_ = std::make_shared<CollectingSink>();
  std::shared_ptr<Batcher> batcher_;
};

TEST_F(SequencesTest, RunOneRequestOfEachAtATimeInOrder) {
  Make({});
  script_.gate.CloseGate();
  Ask(0, {Number(1), true, false}, 1);
  script_.gate.WaitUntilEntered(1);
  for (uint64_t tag = 1; tag < 5; ++tag) Ask(tag, {Number(1), false, false}, 1);
  Ask(5, {Number(2), true, false}, 50);
  EXPECT_EQ(batcher_->Stats().waiting_requests, 5u);
  script_.gate.OpenGate();
  sink_->WaitFor(6);
  for (uint64_t tag = 0; tag < 5; ++tag)
    EXPECT_THAT(sink_->values(tag), ElementsAre(static_cast<float>(tag + 1)));
  EXPECT_THAT(sink_->values(5), ElementsAre(50));
  EXPECT_EQ(batcher_->Stats().sequences.live, 2u);
}

// The turn of the next comes when the answer of the one before is out, whichever threads run them.
TEST_F(SequencesTest, AreAnsweredInOrderWhileOneAnswerIsSlowToGoOut) {
  Make({}, /*by_slot=*/false, /*instances=*/2);
  batcher_->Learn(1, Nanos(1000));
  std::atomic<int> going_out{0};
  std::atomic<int> most{0};
  sink_->on_delivery = [&] {
    most = std::max(most.load(), ++going_out);
    std::this_thread::yield();
    --going_out;
  };
  Ask(0, {Number(1), true, false}, 0);
  for (uint64_t tag = 1; tag < 500; ++tag) Ask(tag, {Number(1), false, tag == 499}, 1);
  sink_->WaitFor(500);
  EXPECT_EQ(most.load(), 1);
  const std::vector<uint64_t> order = sink_->order();
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(SequencesTest, AreRefusedWhenNotBegunOrEndedOrWithoutAnId) {
  Make({});
  EXPECT_THAT(Refused({}).message(), HasSubstr("model 'm' version 3: expected a sequence_id"));
  EXPECT_THAT(Refused({Number(1), false, false}).message(), HasSubstr("sequence 1 is not under way"));
  EXPECT_THAT(Refused({{0, "tram"}, false, true}).message(), HasSubstr("sequence 'tram' is not under way"));
  EXPECT_THAT(Refused({Number(1), true, false}, 2).message(), HasSubstr("expected 1 row"));
  Ask(1, {Number(1), true, true}, 1);
  sink_->WaitFor(1);
  EXPECT_EQ(Refused({Number(1), false, false}).code(), Code::kInvalidInput);
  EXPECT_EQ(batcher_->Stats().sequences.live, 0u);
  EXPECT_EQ(batcher_->Stats().admission.refused_invalid, 5u);
}

TEST_F(SequencesTest, BeginAnewUnderTheSameIdWhileTheFirstIsAnswered) {
  Make({});
  script_.gate.CloseGate();
  Ask(0, {Number(1), true, false}, 1);
  script_.gate.WaitUntilEntered(1);
  Ask(1, {Number(1), false, false}, 1);
  Ask(2, {Number(1), true, false}, 10);
  Ask(3, {Number(1), false, false}, 10);
  script_.gate.OpenGate();
  sink_->WaitFor(4);
  EXPECT_THAT(sink_->values(1), ElementsAre(2));
  EXPECT_THAT(sink_->values(3), ElementsAre(20));
  EXPECT_EQ(batcher_->Stats().sequences.live, 1u);
}

TEST_F(SequencesTest, AreBounded) {
  Make({.max_sequences = 2});
  Ask(0, {Number(1), true, false}, 1);
  Ask(1, {Number(2), true, false}, 1);
  sink_->WaitFor(2);
  const Status status = Refused({Number(3), true, false});
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("2 sequences are live, and max_sequences is 2"));
  Ask(2, {Number(1), true, false}, 5);  // in place of the first, which has no requests
  Ask(3, {Number(1), false, true}, 5);
  sink_->WaitFor(4);
  EXPECT_THAT(sink_->values(3), ElementsAre(10));
  Ask(4, {Number(3), true, false}, 7);  // there is room again when the last answer is out
  sink_->WaitFor(5);
  EXPECT_THAT(sink_->values(4), ElementsAre(7));
  EXPECT_EQ(batcher_->Stats().sequences.refused, 1u);
}

TEST_F(SequencesTest, EndByThemselvesWhenIdle) {
  Make({.idle_timeout = milliseconds(20)});
  Ask(0, {Number(1), true, false}, 1);
  sink_->WaitFor(1);
  EXPECT_TRUE(batcher_->WaitForSequences(clock_.Now() + std::chrono::seconds(30)));
  EXPECT_EQ(Refused({Number(1), false, false}).code(), Code::kInvalidInput);
  EXPECT_EQ(batcher_->Stats().sequences.ended_idle, 1u);
}

TEST_F(SequencesTest, WaitForASlotUntilAnotherEnds) {
  Make({.slots = 1}, /*by_slot=*/true);
  Ask(0, {Number(1), true, false}, 1);
  sink_->WaitFor(1);
  Ask(1, {Number(2), true, false}, 20);
  Ask(2, {Number(2), false, true}, 20);
  EXPECT_EQ(batcher_->Stats().sequences.in_line, 1u);
  EXPECT_EQ(batcher_->Stats().waiting_requests, 2u);
  Ask(3, {Number(1), false, true}, 1);
  sink_->WaitFor(4);
  EXPECT_THAT(sink_->order(), ElementsAre(0u, 3u, 1u, 2u));
  EXPECT_THAT(sink_->values(2), ElementsAre(40));
  EXPECT_EQ(batcher_->Stats().sequences.live, 0u);
}

TEST_F(SequencesTest, PassASlotOnWhenItsSequenceIsIdleForTooLong) {
  Make({.slots = 1, .idle_timeout = milliseconds(20)}, /*by_slot=*/true);
  Ask(0, {Number(1), true, false}, 1);
  sink_->WaitFor(1);
  Ask(1, {Number(2), true, false}, 20);
  sink_->WaitFor(2);
  EXPECT_THAT(sink_->values(1), ElementsAre(20));
}

TEST_F(SequencesTest, KeepDeadlinesAndCancelsOfWhatWaitsForItsTurn) {
  Make({});
  script_.gate.CloseGate();
  Ask(0, {Number(1), true, false}, 1);
  script_.gate.WaitUntilEntered(1);
  Ask(1, {Number(1), false, false}, 100, clock_.Now() + milliseconds(20));
  const RefPtr<Request> cancelled = Ask(2, {Number(1), false, false}, 1000);
  Ask(3, {Number(1), false, false}, 1);
  batcher_->Cancel(cancelled.get());
  sink_->WaitFor(2);  // both of them
  EXPECT_EQ(sink_->code(1), Code::kDeadlineExceeded);
  EXPECT_EQ(sink_->code(2), Code::kCancelled);
  EXPECT_EQ(batcher_->Stats().waiting_requests, 1u);
  script_.gate.OpenGate();
  sink_->WaitFor(4);
  EXPECT_THAT(sink_->values(3), ElementsAre(2));
}

TEST_F(SequencesTest, FailOneRequestAndGoOn) {
  Make({});
  Ask(0, {Number(1), true, false}, 1);
  Ask(1, {Number(1), false, false}, kPoison);
  Ask(2, {Number(1), false, false}, 1);
  sink_->WaitFor(3);
  EXPECT_EQ(sink_->code(1), Code::kInvalidInput);
  EXPECT_THAT(sink_->values(2), ElementsAre(2));
}

TEST_F(SequencesTest, EndWhenNothingOfThemWasRun) {
  Make({.slots = 1});
  Ask(0, {Number(1), true, false}, 1);
  sink_->WaitFor(1);
  const RefPtr<Request> withdrawn = Ask(1, {Number(2), true, false}, 1);
  batcher_->Cancel(withdrawn.get());
  EXPECT_EQ(batcher_->Stats().sequences.live, 1u);
  EXPECT_EQ(batcher_->Stats().sequences.in_line, 0u);
  EXPECT_EQ(Refused({Number(2), false, false}).code(), Code::kInvalidInput);
  Ask(2, {Number(3), true, false}, 5);
  Ask(3, {Number(1), false, true}, 1);
  sink_->WaitFor(4);
  EXPECT_THAT(sink_->values(2), ElementsAre(5));
}

TEST_F(SequencesTest, DropWhatIsAbandonedBeforeItIsQueued) {
  Make({});
  { const auto dropped = Prepare(0, {Number(1), true, true}, 1); }
  EXPECT_EQ(batcher_->Stats().sequences.live, 0u);
  EXPECT_EQ(batcher_->Stats().inflight_requests, 0u);
}

TEST_F(SequencesTest, AnswerWhatWaitsWhenTheModelIsClosed) {
  Make({.slots = 1});
  script_.gate.CloseGate();
  Ask(0, {Number(1), true, false}, 1);
  script_.gate.WaitUntilEntered(1);
  Ask(1, {Number(1), false, false}, 1);
  Ask(2, {Number(2), true, false}, 1);
  std::thread closer([&] { batcher_->Close(); });
  sink_->WaitFor(2);
  EXPECT_EQ(sink_->code(1), Code::kUnavailable);
  EXPECT_EQ(sink_->code(2), Code::kUnavailable);
  script_.gate.OpenGate();
  closer.join();
  EXPECT_EQ(sink_->code(0), Code::kOk);
}

TEST_F(SequencesTest, AModelWithoutThemRefusesTheirIds) {
  ModelFixture model(DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})}));
  const RefPtr<Request> request = model.batcher->NewRequest();
  request->sequence.id.number = 9;
  const Status status = model.batcher->Reserve(*request, std::vector<Shape>{Shape{1, 2}});
  EXPECT_EQ(status.code(), Code::kInvalidInput);
  EXPECT_THAT(status.message(), HasSubstr("keeps no sequences"));
}

// Threads with sequences of random lengths that end, vanish, are begun anew, cancelled or late: each answered
// request has the sum of what was answered or run before it, and nothing is answered twice.
class ManySequences : public SequencesTest, public testing::WithParamInterface<std::tuple<bool, int>> {};
INSTANTIATE_TEST_SUITE_P(Sequences, ManySequences,
                         testing::Values(std::tuple{false, 1}, std::tuple{false, 2}, std::tuple{true, 1}));

TEST_P(ManySequences, AddUpUnderRandomTraffic) {
  const auto [by_slot, instances] = GetParam();
  Make({.max_sequences = 5000, .slots = by_slot ? 8u : 0u}, by_slot, instances);
  constexpr uint64_t kThreads = 4, kSequences = 80;
  std::atomic<uint64_t> asked{0};
  std::map<uint64_t, std::vector<float>> expected;
  Mutex mu;
  {
    std::vector<std::jthread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, by_slot = by_slot] {
        std::mt19937_64 random(t);
        for (uint64_t s = 0; s < kSequences; ++s) {
          const uint64_t length = 1 + random() % 6;
          const bool vanishes = random() % 5 == 0 && !by_slot;  // it would keep its slot
          const SequenceId id = random() % 2 == 0
                                    ? Number(1 + t * kSequences + s)
                                    : SequenceId{0, std::to_string(t) + "/" + std::to_string(s)};
          float sum = 0;
          for (uint64_t i = 0; i < length; ++i) {
            const bool last = i + 1 == length && !vanishes;
            const auto x = static_cast<float>(random() % 100);
            sum += x;
            const uint64_t tag = (t * kSequences + s) * 16 + i;
            {
              MutexLock lock(mu);
              expected[tag] = {sum};
            }
            // Text ids are no ids of this model; they are refused each, and the states stay apart.
            auto request = Prepare(tag, {id, i == 0, last}, x);
            ASSERT_TRUE(request.ok()) << request.status().message();
            asked.fetch_add(1);
            batcher_->Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
          }
        }
      });
    }
  }
  sink_->WaitFor(asked.load());
  for (const auto& [tag, times] : sink_->times()) ASSERT_EQ(times, 1) << tag;
  for (const auto& [tag, values] : expected) {
    if (sink_->code(tag) == Code::kOk) {
      EXPECT_EQ(sink_->values(tag), values) << tag;
    } else {
      EXPECT_EQ(sink_->code(tag), Code::kInvalidInput) << tag;
    }
  }
  clock_.Shift(std::chrono::minutes(2));  // what vanished is found idle by the next that begins
  Ask(uint64_t{1} << 40, {Number(uint64_t{1} << 40), true, true}, 1);
  sink_->WaitFor(asked.load() + 1);
  EXPECT_TRUE(batcher_->Drain(clock_.Now() + std::chrono::seconds(30)));
  EXPECT_EQ(batcher_->Stats().sequences.live, 0u);
  EXPECT_EQ(batcher_->Stats().waiting_requests, 0u);
}

}  // namespace
}  // namespace falaj::test

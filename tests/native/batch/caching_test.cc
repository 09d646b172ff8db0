// Models with a response cache: kept answers, and runs that equal requests share.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "fakes/allocations.h"
#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

using testing::ElementsAre;

BatcherOptions Cached(size_t max_bytes = 1 << 20) {
  BatcherOptions options = DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})});
  options.cache.max_bytes = max_bytes;
  return options;
}

const std::vector<Shape> kRow{Shape{1, 2}};

// A run of the request tagged 0 is at the gate, and those tagged 1 to `waiting` wait for its answer.
class OneRunning {
 public:
  explicit OneRunning(uint64_t waiting, BatcherOptions options = Cached(), float value = 5)
      : model(std::move(options)) {
    model.script.CloseGate();
    requests.push_back(model.Ask(0, kRow, value));
    model.script.WaitUntilEntered(1);
    for (uint64_t tag = 1; tag <= waiting; ++tag) requests.push_back(model.Ask(tag, kRow, value));
  }
  size_t runs() const { return model.script.rows().size(); }
  CacheCounters counters() const { return model.batcher->Stats().cache; }
  void ExpectNothingLeft() {
    EXPECT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(30)));
    ExpectEven();
  }
  void ExpectEven() {
    const ModelStats stats = model.batcher->Stats();
    EXPECT_EQ(stats.inflight_requests, 0u);
    EXPECT_EQ(stats.waiting_rows, 0);
    EXPECT_EQ(model.timer.size(), 0u);
    for (const auto& [tag, times] : model.sink->times()) EXPECT_EQ(times, 1) << tag;
  }

  ModelFixture model;
  std::vector<RefPtr<Request>> requests;
};

TEST(Caching, AnswersAnEqualRequestWithoutARun) {
  ModelFixture model(Cached());
  model.Ask(1, kRow, 5);
  model.sink->WaitFor(1);
  model.Ask(2, kRow, 5);
  EXPECT_EQ(model.sink->values(2), (std::vector<float>{11, 11}));  // at once, on this thread
  EXPECT_EQ(model.sink->shape(2), (Shape{1, 2}));
  EXPECT_THAT(model.script.rows(), ElementsAre(1));
  const ModelStats stats = model.batcher->Stats();
  EXPECT_EQ(stats.cache.hits, 1u);
  EXPECT_EQ(stats.cache.misses, 1u);
  EXPECT_EQ(stats.cache.entries, 1u);
  EXPECT_GT(stats.cache.bytes, 0u);
  EXPECT_EQ(stats.requests_ok, 2u);
  EXPECT_EQ(stats.rows, 1u);
}

TEST(Caching, RunsWhatDiffersInDataOrInShape) {
  BatcherOptions options = DefaultOptions({Spec("x", {-1, -1})}, {Spec("y", {-1, -1})});
  options.cache.max_bytes = 1 << 20;
  ModelFixture model(std::move(options));
  uint64_t tag = 0;
  for (const Shape& shape : {Shape{1, 6}, Shape{2, 3}, Shape{3, 2}, Shape{6, 1}, Shape{0, 6}, Shape{6, 0}}) {
    model.Ask(++tag, {shape}, 5);
    model.sink->WaitFor(tag);
    EXPECT_EQ(model.sink->shape(tag), shape);
  }
  model.Ask(++tag, {Shape{1, 6}}, 6);
  model.sink->WaitFor(tag);
  EXPECT_EQ(model.batcher->Stats().cache.misses, 7u);
  EXPECT_EQ(model.batcher->Stats().cache.hits, 0u);
  model.Ask(++tag, {Shape{0, 6}}, 5);
  EXPECT_EQ(model.sink->shape(tag), (Shape{0, 6}));
  EXPECT_EQ(model.batcher->Stats().cache.hits, 1u);
}

TEST(Caching, KeepsBytes) {
  BatcherOptions options =
      DefaultOptions({Spec("x", {-1, 1}, DataType::kBytes)}, {Spec("y", {-1, 1}, DataType::kBytes)});
  options.cache.max_bytes = 1 << 20;
  ModelFixture model(std::move(options));
  class Texts final : public CompletionSink {
   public:
    void Deliver(std::span<Request* const> done) override {
      MutexLock lock(mu_);
      for (Request* request : done) {
        texts_.emplace_back(static_cast<const std::string_view*>(request->outputs()[0].data)[0]);
        request->Unref();
      }
      changed_.NotifyAll();
    }
    std::vector<std::string> WaitFor(size_t count) {
      MutexLock lock(mu_);
      while (texts_.size() < count) changed_.Wait(mu_);
      return texts_;
    }

   private:
    Mutex mu_;
    CondVar changed_;
    std::vector<std::string> texts_ GUARDED_BY(mu_);
  };
  const auto sink = std::make_shared<Texts>();
  size_t asked = 0;
  for (const std::string text : {"one", "two", "one"}) {
    const RefPtr<Request> request = model.batcher->NewRequest();
    request->sink = sink;
    const Shape shape{1, 1};
    ASSERT_TRUE(model.batcher->Reserve(*request, std::span(&shape, 1), text.size()).ok());
    std::memcpy(request->payload(), text.data(), text.size());
    *static_cast<std::string_view*>(request->inputs()[0].data) = {
        reinterpret_cast<const char*>(request->payload()), text.size()};
    model.batcher->Submit(request.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
    sink->WaitFor(++asked);
  }
  EXPECT_THAT(sink->WaitFor(3), ElementsAre("one", "two", "one"));
  EXPECT_EQ(model.batcher->Stats().cache.hits, 1u);
}

TEST(Caching, SharesOneRunAmongThoseWhoAskMeanwhile) {
  OneRunning one(20);
  EXPECT_EQ(one.counters().joined, 20u);
  EXPECT_EQ(one.model.batcher->Stats().waiting_requests, 0u);  // none of them wants a run
  one.model.script.OpenGate();
  one.model.sink->WaitFor(21);
  for (uint64_t tag = 0; tag <= 20; ++tag) {
    EXPECT_EQ(one.model.sink->values(tag), (std::vector<float>{11, 11}));
  }
  EXPECT_EQ(one.runs(), 1u);
  EXPECT_EQ(one.model.sink->calls(), 1);
  EXPECT_EQ(one.counters().hits, 20u);
  EXPECT_EQ(one.counters().misses, 1u);
  EXPECT_EQ(one.model.batcher->Stats().requests_ok, 21u);
  one.ExpectNothingLeft();
}

// Its caller may use the memory for something else from then on.
TEST(Caching, RunsAnewForTheOthersWhenOneThatRunsOnItsCallersMemoryIsCancelled) {
  ModelFixture model(Cached());
  model.script.CloseGate();
  std::vector<float> memory{5, 5};
  const RefPtr<Request> leaving = model.batcher->NewRequest();
  leaving->sink = model.sink;
  leaving->tag = 1;
  const TensorView view{DataType::kFp32, kRow[0], memory.data()};
  ASSERT_TRUE(model.batcher->Attach(*leaving, std::span(&view, 1), std::make_shared<int>()).ok());
  model.batcher->Submit(leaving.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
  model.script.WaitUntilEntered(1);
  model.Ask(2, kRow, 5);
  model.batcher->Cancel(leaving.get());
  memory.assign({9, 9});
  model.script.OpenGate();
  model.sink->WaitFor(2);
  EXPECT_EQ(model.sink->code(1), Code::kCancelled);
  EXPECT_EQ(model.sink->values(2), (std::vector<float>{11, 11}));
  model.Ask(3, kRow, 5);
  EXPECT_EQ(model.sink->values(3), (std::vector<float>{11, 11}));
  EXPECT_THAT(model.script.rows(), ElementsAre(1, 1));
}

TEST(Caching, AnswersTheOthersWhenTheOneThatRunsIsCancelled) {
  OneRunning one(5);
  one.model.batcher->Cancel(one.requests[0].get());
  one.model.batcher->Cancel(one.requests[2].get());
  EXPECT_EQ(one.model.sink->code(0), Code::kCancelled);
  EXPECT_EQ(one.model.sink->code(2), Code::kCancelled);
  one.model.script.OpenGate();
  one.model.sink->WaitFor(6);
  for (const uint64_t tag : {1u, 3u, 4u, 5u}) {
    EXPECT_EQ(one.model.sink->values(tag), (std::vector<float>{11, 11}));
  }
  EXPECT_EQ(one.runs(), 1u);  // the run that was under way
  one.ExpectNothingLeft();
}

TEST(Caching, RunsTheNextWhenTheOneInTheQueueIsWithdrawn) {
  for (const bool expires : {false, true}) {
    OneRunning one(0, Cached(), 4);  // something else keeps the instance busy
    one.requests.push_back(one.model.Ask(1, kRow, 5));
    one.requests.push_back(one.model.Ask(2, kRow, 5));
    one.requests.push_back(one.model.Ask(3, kRow, 5));
    EXPECT_EQ(one.model.batcher->Stats().waiting_requests, 1u);
    if (expires) {
      one.model.batcher->Expire(one.requests[1].get());
    } else {
      one.model.batcher->Cancel(one.requests[1].get());
    }
    EXPECT_EQ(one.model.sink->code(1), expires ? Code::kDeadlineExceeded : Code::kCancelled);
    EXPECT_EQ(one.model.batcher->Stats().waiting_requests, 1u);
    one.model.script.OpenGate();
    one.model.sink->WaitFor(4);
    EXPECT_EQ(one.model.sink->values(2), (std::vector<float>{11, 11}));
    EXPECT_EQ(one.model.sink->values(3), (std::vector<float>{11, 11}));
    EXPECT_EQ(one.runs(), 2u);
    one.ExpectNothingLeft();
  }
}

TEST(Caching, EndsOneThatWaitsAtItsOwnDeadline) {
  OneRunning one(1);
  one.requests.push_back(one.model.Ask(2, kRow, 5, 0, one.model.clock.Now() + std::chrono::milliseconds(20)));
  one.model.sink->WaitFor(1);
  EXPECT_EQ(one.model.sink->code(2), Code::kDeadlineExceeded);
  one.model.script.OpenGate();
  one.model.sink->WaitFor(3);
  EXPECT_EQ(one.model.sink->values(1), (std::vector<float>{11, 11}));
  EXPECT_EQ(one.runs(), 1u);
  one.ExpectNothingLeft();
}

TEST(Caching, GivesAnErrorToItsOwnRequestAndRunsAnother) {
  OneRunning one(3, Cached(), kPoison);
  one.model.script.OpenGate();
  one.model.sink->WaitFor(4);
  for (uint64_t tag = 0; tag <= 3; ++tag) EXPECT_EQ(one.model.sink->code(tag), Code::kInvalidInput);
  // The first, the second after it, then the others as without a cache: together, and alone when that failed.
  EXPECT_THAT(one.model.script.rows(), ElementsAre(1, 1, 2, 1, 1));
  EXPECT_EQ(one.counters().entries, 0u);
  EXPECT_EQ(one.counters().hits, 0u);
  one.ExpectNothingLeft();
}

TEST(Caching, MovesTheRunUpWhenAMoreUrgentRequestWaitsForIt) {
  BatcherOptions options = Cached();
  options.levels.resize(2);
  options.default_level = 2;
  options.max_batch_rows = 1;
  OneRunning one(0, std::move(options), 4);
  one.model.Ask(1, kRow, 7);
  one.model.Ask(2, kRow, 5);
  one.model.Ask(3, kRow, 5, /*priority=*/1);
  one.model.script.OpenGate();
  one.model.sink->WaitFor(4);
  EXPECT_THAT(one.model.script.first(), ElementsAre(4, 5, 7));
  EXPECT_EQ(one.model.sink->values(2), (std::vector<float>{11, 11}));
  EXPECT_EQ(one.model.sink->values(3), (std::vector<float>{11, 11}));
  one.ExpectNothingLeft();
}

TEST(Caching, AnswersWhatIsKeptWhenTheQueueIsFull) {
  BatcherOptions options = Cached();
  options.max_queue_rows = 2;
  ModelFixture model(std::move(options));
  model.Ask(0, kRow, 5);
  model.sink->WaitFor(1);
  model.script.CloseGate();
  model.Ask(1, kRow, 1);
  model.script.WaitUntilEntered(2);
  model.Ask(2, kRow, 2);
  model.Ask(3, kRow, 3);
  model.Ask(4, kRow, 4);
  EXPECT_EQ(model.sink->code(4), Code::kUnavailable);
  model.Ask(5, kRow, 2);  // waits for 2, and takes memory too
  EXPECT_EQ(model.sink->code(5), Code::kUnavailable);
  model.Ask(6, kRow, 5);
  EXPECT_EQ(model.sink->code(6), Code::kOk);
  EXPECT_EQ(model.batcher->Stats().admission.refused_full, 2u);
  model.script.OpenGate();
  model.sink->WaitFor(7);
}

TEST(Caching, StaysWithinItsBytesUnderManyKeys) {
  constexpr size_t kBytes = 64 * 1024;
  ModelFixture model(Cached(kBytes));
  for (uint64_t tag = 0; tag < 2'000; ++tag) {
    model.Ask(tag, kRow, static_cast<float>(tag));
    model.sink->WaitFor(tag + 1);
    ASSERT_LE(model.batcher->Stats().cache.bytes, kBytes);
  }
  const CacheCounters cache = model.batcher->Stats().cache;
  EXPECT_GT(cache.entries, 50u);
  EXPECT_EQ(cache.evicted, 2'000 - cache.entries);
  model.Ask(2'000, kRow, 1'999);
  EXPECT_EQ(model.batcher->Stats().cache.hits, 1u);
  model.Ask(2'001, kRow, 0);
  model.sink->WaitFor(2'002);
  EXPECT_EQ(model.batcher->Stats().cache.misses, 2'001u);
}

TEST(Caching, RunsAgainWhenWhatIsKeptIsTooOld) {
  BatcherOptions options = Cached();
  options.cache.ttl = std::chrono::seconds(10);
  ModelFixture model(std::move(options));
  model.Ask(0, kRow, 5);
  model.sink->WaitFor(1);
  model.clock.Shift(std::chrono::seconds(11));
  model.Ask(1, kRow, 5);
  model.sink->WaitFor(2);
  EXPECT_EQ(model.script.rows().size(), 2u);
  EXPECT_EQ(model.batcher->Stats().cache.outdated, 1u);
}

TEST(Caching, EndsThoseThatWaitWhenTheModelIsClosed) {
  OneRunning one(3);
  std::thread closer([&] { one.model.batcher->Close(); });
  one.model.sink->WaitFor(3);
  for (uint64_t tag = 1; tag <= 3; ++tag) EXPECT_EQ(one.model.sink->code(tag), Code::kUnavailable);
  one.model.script.OpenGate();
  closer.join();
  EXPECT_EQ(one.model.sink->code(0), Code::kOk);
  EXPECT_EQ(one.counters().bytes, 0u);
  one.ExpectEven();
}

TEST(Caching, LeavesAKeptAnswerWithItsReaderWhenTheModelIsClosed) {
  auto model = std::make_unique<ModelFixture>(Cached());
  model->Ask(0, kRow, 5);
  model->sink->WaitFor(1);
  const RefPtr<Request> hit = model->Ask(1, kRow, 5);
  model->batcher->Close();
  EXPECT_EQ(static_cast<const float*>(hit->outputs()[0].data)[1], 11);
}

TEST(Caching, LeavesNoHolesAmongTheRowsOfThoseThatRun) {
  ModelFixture model(Cached());
  model.Ask(0, kRow, 5);
  model.sink->WaitFor(1);
  const std::byte* rows = nullptr;
  for (uint64_t tag = 1; tag <= 20; ++tag) {
    auto request = model.Prepare(tag, kRow, 5);
    ASSERT_TRUE(request.ok());
    const auto* data = static_cast<const std::byte*>((*request)->inputs()[0].data);
    if (rows != nullptr) {
      EXPECT_EQ(data, rows);
    }
    rows = data;
    model.batcher->Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
  }
  EXPECT_EQ(model.batcher->Stats().cache.hits, 20u);
}

// What became of each of many requests, by tag.
class Ledger final : public CompletionSink {
 public:
  struct Line {
    int times = 0;
    Code code = Code::kOk;
    float value = 0;
  };
  explicit Ledger(size_t requests) : lines_(requests) {}
  void Deliver(std::span<Request* const> done) override {
    MutexLock lock(mu_);
    for (Request* request : done) {
      Line& line = lines_[request->tag];
      ++line.times;
      line.code = request->status().code();
      if (request->status().ok()) line.value = *static_cast<const float*>(request->outputs()[0].data);
      request->Unref();
    }
    delivered_ += done.size();
    changed_.NotifyAll();
  }
  std::vector<Line> WaitFor(size_t requests) {
    MutexLock lock(mu_);
    while (delivered_ < requests) changed_.Wait(mu_);
    return lines_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::vector<Line> lines_ GUARDED_BY(mu_);
  size_t delivered_ GUARDED_BY(mu_) = 0;
};

// Whatever is cancelled, expires or fails: each request is delivered once, with its own answer or an error
// that is its own, and the account of what waits comes out even.
TEST(Caching, AnswersEachOnceUnderRandomCancelsDeadlinesPrioritiesAndFailures) {
  BatcherOptions options = Cached(32 * 1024);
  options.instances = 2;
  options.levels.resize(3);
  options.run_on_submitter = true;
  options.max_queue_rows = 1 << 20;
  ModelFixture model(std::move(options));
  for (int64_t rows = 1; rows <= 8; rows *= 2) model.batcher->Learn(rows, Nanos(1000));
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 5'000;
  std::atomic<uint64_t> accepted{0};
  std::vector<float> asked(kThreads * kEach);
  const auto ledger = std::make_shared<Ledger>(kThreads * kEach);
  {
    std::vector<std::jthread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(t);
        for (uint64_t i = 0; i < kEach; ++i) {
          const uint64_t tag = t * kEach + i;
          const uint64_t dice = random() % 10;
          // Few keys, so that they meet; now and then many, so that they are evicted.
          const auto key = static_cast<float>(random() % (i / 500 % 2 == 0 ? 8 : 500));
          asked[tag] = random() % 50 == 0 ? kPoison : key;
          const TimePoint deadline =
              dice == 0 ? model.clock.Now() + std::chrono::microseconds(random() % 300) : TimePoint::max();
          auto request = model.Prepare(tag, kRow, asked[tag], static_cast<int>(random() % 4), deadline);
          if (!request.ok() || dice == 1) continue;
          (*request)->sink = ledger;
          accepted.fetch_add(1);
          model.batcher->Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
          if (dice == 2) model.batcher->Cancel(request->get());
        }
      });
    }
  }
  ledger->WaitFor(accepted.load());
  EXPECT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(30)));
  const std::vector<Ledger::Line> lines = ledger->WaitFor(accepted.load());
  uint64_t delivered = 0;
  for (size_t tag = 0; tag < lines.size(); ++tag) {
    const Ledger::Line& line = lines[tag];
    if (line.times == 0) continue;
    ++delivered;
    ASSERT_EQ(line.times, 1) << tag;
    if (line.code == Code::kOk) {
      ASSERT_EQ(line.value, 2 * asked[tag] + 1) << tag;
      ASSERT_NE(asked[tag], kPoison) << tag;
    } else if (line.code == Code::kInvalidInput) {
      ASSERT_EQ(asked[tag], kPoison) << tag;
    } else {
      ASSERT_TRUE(line.code == Code::kCancelled || line.code == Code::kDeadlineExceeded) << tag;
    }
  }
  EXPECT_EQ(delivered, accepted.load());
  const ModelStats stats = model.batcher->Stats();
  EXPECT_EQ(stats.inflight_requests, 0u);
  EXPECT_EQ(stats.waiting_rows, 0);
  EXPECT_EQ(model.timer.size(), 0u);
  EXPECT_GT(stats.cache.hits, 0u);
  EXPECT_GT(stats.cache.evicted, 0u);
  EXPECT_LE(stats.cache.bytes, 32u * 1024);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Caching, AllocatesNothingForAHitAfterWarmUp) {
  class Dropping final : public CompletionSink {
   public:
    void Deliver(std::span<Request* const> done) override {
      for (Request* request : done) request->Unref();
    }
  };
  ModelFixture model(Cached());
  model.Ask(0, kRow, 5);
  model.sink->WaitFor(1);
  EXPECT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(30)));
  const auto sink = std::make_shared<Dropping>();
  const auto hit = [&] {
    const RefPtr<Request> request = model.batcher->NewRequest();
    request->sink = sink;
    if (!model.batcher->Reserve(*request, kRow).ok()) std::abort();
    std::fill_n(static_cast<float*>(request->inputs()[0].data), 2, 5.0f);
    model.batcher->Submit(request.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
  };
  hit();
  EXPECT_EQ(CountAllocations([&] {
              for (int i = 0; i < 1'000; ++i) hit();
            }),
            0);
  EXPECT_EQ(model.batcher->Stats().cache.hits, 1'001u);
}
#endif

}  // namespace
}  // namespace falaj::test

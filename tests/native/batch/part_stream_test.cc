// Models that answer a request any number of times.
#include "batch/part_stream.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <deque>
#include <random>
#include <thread>

#include "core/file_descriptor.h"
#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

// How an instance waits for room: in Put, or as an event loop does.
enum class Waits { kInPut, kWatching };

// Gives x[0] answers, each its number, and then fails where x[1] is not 0. Stops when nobody wants more.
class CountingInstance final : public Instance {
 public:
  CountingInstance(std::atomic<int64_t>* given, Waits waits)
      : given_(given), changes_(waits == Waits::kWatching ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1) {}
  Status Run(const BatchIo& io) override {
    AnswerStream& answers = *io.members[0].answers;
    if (changes_.valid()) answers.Watch(changes_.get());
    const Status status = Give(static_cast<const float*>(io.inputs[0].data), answers);
    if (changes_.valid()) answers.Watch(-1);
    return status;
  }

 private:
  Status Give(const float* x, AnswerStream& answers) {
    for (int i = 0; i < static_cast<int>(x[0]); ++i) {
      auto memory = std::make_shared<float>(static_cast<float>(i));
      const TensorView answer{DataType::kFp32, Shape{1, 1}, memory.get()};
      if (changes_.valid()) AwaitRoom(answers);
      if (!answers.Put(std::span(&answer, 1), {memory})) return Cancelled("nobody listens");
      given_->fetch_add(1);
    }
    return x[1] == 0 ? Status::Ok() : Internal("broke");
  }
  void AwaitRoom(AnswerStream& answers) {
    while (answers.LookForRoom() == AnswerStream::Room::kFull) {
      pollfd wait{changes_.get(), POLLIN, 0};
      ASSERT_EQ(poll(&wait, 1, 60'000), 1) << "nobody told of room";
      uint64_t count = 0;
      ASSERT_EQ(read(changes_.get(), &count, sizeof(count)), 8);
    }
  }

  std::atomic<int64_t>* const given_;
  const FileDescriptor changes_;
};

class CountingBackend final : public Backend {
 public:
  CountingBackend(ModelSignature signature, std::atomic<int64_t>* given, Waits waits)
      : signature_(std::move(signature)), given_(given), waits_(waits) {}
  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    return std::unique_ptr<Instance>(std::make_unique<CountingInstance>(given_, waits_));
  }
  size_t MemoryUsed() const override { return 0; }
  std::string Placement() const override { return "counting"; }

 private:
  const ModelSignature signature_;
  std::atomic<int64_t>* const given_;
  const Waits waits_;
};

// Keeps what is delivered until it is taken.
class KeepingSink final : public CompletionSink {
 public:
  ~KeepingSink() override {
    for (Request* request : kept_) request->Unref();
  }
  void Deliver(std::span<Request* const> done) override {
    MutexLock lock(mu_);
    kept_.insert(kept_.end(), done.begin(), done.end());
    changed_.NotifyAll();
  }
  RefPtr<Request> Next() {
    MutexLock lock(mu_);
    while (kept_.empty()) changed_.Wait(mu_);
    RefPtr<Request> request(kept_.front());
    kept_.front()->Unref();
    kept_.pop_front();
    return request;
  }
  size_t kept() {
    MutexLock lock(mu_);
    return kept_.size();
  }
  void WaitFor(size_t kept) {
    MutexLock lock(mu_);
    while (kept_.size() < kept) changed_.Wait(mu_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::deque<Request*> kept_ GUARDED_BY(mu_);
};

float ValueOf(const Request& part) { return *static_cast<const float*>(part.outputs()[0].data); }

class Streaming {
 public:
  explicit Streaming(Waits waits = Waits::kInPut, int instances = 1) : pool(2, &clock), timer(&clock) {
    BatcherOptions options = DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 1})});
    options.decoupled = options.tells_members = true;
    options.instances = instances;
    options.cores_per_batch = 0;
    auto backend = std::make_unique<CountingBackend>(options.signature, &given, waits);
    auto made = Batcher::Make(std::move(options), std::move(backend), &pool, &timer, &clock);
    EXPECT_TRUE(made.ok()) << made.status().message();
    batcher = std::move(made).value();
  }
  ~Streaming() { batcher->Close(); }

  RefPtr<Request> Ask(const std::shared_ptr<CompletionSink>& sink, float count, float fails = 0,
                      TimePoint deadline = TimePoint::max()) {
    RefPtr<Request> request = batcher->NewRequest();
    request->sink = sink;
    request->deadline = deadline;
    const Shape shape{1, 2};
    EXPECT_TRUE(batcher->Reserve(*request, std::span(&shape, 1)).ok());
    static_cast<float*>(request->inputs()[0].data)[0] = count;
    static_cast<float*>(request->inputs()[0].data)[1] = fails;
    batcher->Submit(request.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
    return request;
  }

  std::atomic<int64_t> given{0};
  SteadyClock clock;
  ExecutorPool pool;
  DeadlineTimer timer;
  std::shared_ptr<Batcher> batcher;
};

class PartStreamOfEither : public testing::TestWithParam<Waits> {};
INSTANTIATE_TEST_SUITE_P(Waits, PartStreamOfEither, testing::Values(Waits::kInPut, Waits::kWatching));

TEST(PartStream, TellsOfTheEndAtOnceWhenWatchedBehindIt) {
  PartStream stream(nullptr);
  const FileDescriptor changes(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  EXPECT_EQ(stream.LookForRoom(), AnswerStream::Room::kSome);
  stream.End();
  EXPECT_EQ(stream.LookForRoom(), AnswerStream::Room::kEnded);
  stream.Watch(changes.get());
  uint64_t count = 0;
  EXPECT_EQ(read(changes.get(), &count, sizeof(count)), 8);
  stream.Watch(-1);
  stream.End();
  EXPECT_EQ(read(changes.get(), &count, sizeof(count)), -1);  // nothing to read
}

TEST(PartStream, DeliversEachAnswerInOrderAndThenTheRequest) {
  Streaming model;
  for (const int count : {0, 1, 3, 100}) {
    const auto sink = std::make_shared<KeepingSink>();
    model.Ask(sink, static_cast<float>(count));
    for (int i = 0; i < count; ++i) {
      const RefPtr<Request> part = sink->Next();
      ASSERT_TRUE(part->is_part());
      ASSERT_EQ(ValueOf(*part), static_cast<float>(i));
    }
    const RefPtr<Request> last = sink->Next();
    EXPECT_FALSE(last->is_part());
    EXPECT_TRUE(last->status().ok());
    EXPECT_TRUE(last->outputs().empty());
  }
}

TEST_P(PartStreamOfEither, HoldsTheModelBackWhileAnswersAreNotTaken) {
  Streaming model(GetParam());
  const auto sink = std::make_shared<KeepingSink>();
  model.Ask(sink, 1000);
  sink->WaitFor(PartStream::kMost);
  for (int i = 0; i < 100; ++i) {
    const RefPtr<Request> part = sink->Next();
    ASSERT_EQ(ValueOf(*part), static_cast<float>(i));
    ASSERT_LT(sink->kept(), PartStream::kMost);  // this one is not taken either
  }
  for (int i = 100; i < 1000; ++i) ASSERT_EQ(ValueOf(*sink->Next()), static_cast<float>(i));
  EXPECT_FALSE(sink->Next()->is_part());
}

TEST(PartStream, TellsTheFailureBehindTheAnswersBeforeIt) {
  Streaming model;
  const auto sink = std::make_shared<KeepingSink>();
  model.Ask(sink, 2, /*fails=*/1);
  EXPECT_EQ(ValueOf(*sink->Next()), 0);
  EXPECT_EQ(ValueOf(*sink->Next()), 1);
  const RefPtr<Request> last = sink->Next();
  EXPECT_EQ(last->status().code(), Code::kInternal);
}

TEST_P(PartStreamOfEither, EndsTheRunWhenTheRequestIsWithdrawn) {
  Streaming model(GetParam());
  const auto sink = std::make_shared<KeepingSink>();
  const RefPtr<Request> request = model.Ask(sink, 1'000'000);
  sink->WaitFor(PartStream::kMost);
  model.batcher->Cancel(request.get());
  for (size_t i = 0; i < PartStream::kMost; ++i) EXPECT_TRUE(sink->Next()->is_part());
  EXPECT_EQ(sink->Next()->status().code(), Code::kCancelled);
  EXPECT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(30)));
  EXPECT_LT(model.given.load(), 20);
}

TEST_P(PartStreamOfEither, EndsTheRunAtTheDeadline) {
  Streaming model(GetParam());
  const auto sink = std::make_shared<KeepingSink>();
  model.Ask(sink, 1'000'000, 0, model.clock.Now() + std::chrono::milliseconds(20));
  RefPtr<Request> last = sink->Next();
  while (last->is_part()) last = sink->Next();
  EXPECT_EQ(last->status().code(), Code::kDeadlineExceeded);
}

TEST_P(PartStreamOfEither, IsCutWhenTheModelIsClosed) {
  Streaming model(GetParam());
  const auto sink = std::make_shared<KeepingSink>();
  model.Ask(sink, 1'000'000);
  sink->WaitFor(PartStream::kMost);
  model.batcher->Close();
  for (size_t i = 0; i < PartStream::kMost; ++i) EXPECT_TRUE(sink->Next()->is_part());
  EXPECT_EQ(sink->Next()->status().code(), Code::kUnavailable);
}

TEST_P(PartStreamOfEither, GivesNoAnswerBehindTheEndUnderRandomCancels) {
  Streaming model(GetParam(), 4);
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&model, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 300; ++i) {
        const auto sink = std::make_shared<KeepingSink>();
        const RefPtr<Request> request = model.Ask(sink, static_cast<float>(random() % 30));
        const auto taken = static_cast<int>(random() % 30);
        RefPtr<Request> got;
        float next = 0;
        for (int j = 0; j < taken && (!got || got->is_part()); ++j) {
          got = sink->Next();
          if (got->is_part()) {
            ASSERT_EQ(ValueOf(*got), next++);
          }
        }
        model.batcher->Cancel(request.get());
        while (!got || got->is_part()) got = sink->Next();
        ASSERT_EQ(sink->kept(), 0u);
      }
    });
  }
  threads.clear();
  EXPECT_TRUE(model.batcher->Drain(model.clock.Now() + std::chrono::seconds(30)));
  EXPECT_EQ(model.batcher->Stats().inflight_requests, 0u);
}

}  // namespace
}  // namespace falaj::test

#include <gtest/gtest.h>

#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

BatcherOptions Fixed() { return DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})}); }

// Asks again from inside the delivery of an answer, as a client does that waited for it.
class AskAgain final : public CompletionSink {
 public:
  explicit AskAgain(ModelFixture* model) : model_(model) {}
  void Deliver(std::span<Request* const> done) override {
    for (Request* request : done) request->Unref();
    auto again = model_->Prepare(2, {Shape{1, 2}}, 1, 0, model_->clock.Now() + std::chrono::seconds(100));
    MutexLock lock(mu_);
    status_ = again.status();
    arrived_ = true;
    changed_.NotifyAll();
  }
  Status Wait() {
    MutexLock lock(mu_);
    while (!arrived_) changed_.Wait(mu_);
    return status_;
  }

 private:
  ModelFixture* const model_;
  Mutex mu_;
  CondVar changed_;
  bool arrived_ = false;
  Status status_;
};

TEST(Admission, TriesAnIdleModelWhoseInstanceIsJustDelivering) {
  ModelFixture model(Fixed());
  const auto sink = std::make_shared<AskAgain>(&model);
  auto request = model.Prepare(1, {Shape{1, 2}}, 1);
  ASSERT_TRUE(request.ok());
  (*request)->sink = sink;
  // Learned in a bad moment: no deadline can be met by this account. The run that delivers was begun before.
  model.script.CloseGate();
  model.batcher->Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
  model.script.WaitUntilEntered(1);
  model.batcher->Learn(1, std::chrono::seconds(1000));
  model.script.OpenGate();
  EXPECT_TRUE(sink->Wait().ok());
}

TEST(Admission, RefusesADeadlineThatCannotBeMetBehindABusyInstance) {
  ModelFixture model(Fixed());
  model.batcher->Learn(1, std::chrono::seconds(1000));
  model.script.CloseGate();
  model.Ask(1, {Shape{1, 2}}, 1);
  model.script.WaitUntilEntered(1);
  const auto refused = model.Prepare(2, {Shape{1, 2}}, 1, 0, model.clock.Now() + std::chrono::seconds(100));
  EXPECT_EQ(refused.status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(model.batcher->Stats().admission.refused_deadline, 1u);
  EXPECT_TRUE(model.Prepare(3, {Shape{1, 2}}, 1).ok());
}

TEST(Admission, KeepsLittleMemoryForRequestsToCome) {
  BatcherOptions options = DefaultOptions({Spec("x", {-1, -1})}, {Spec("y", {-1, -1})});
  options.max_queue_rows = 1000;
  ModelFixture model(std::move(options));
  {
    std::vector<RefPtr<Request>> held;
    for (uint64_t tag = 0; tag < 64; ++tag) {
      auto request = model.Prepare(tag, {Shape{1, 1 << 16}}, 1);  // 256 KiB each, 16 MiB in all
      ASSERT_TRUE(request.ok());
      held.push_back(*request);
    }
  }
  EXPECT_GT(model.batcher->Stats().buffer_bytes, 0u);
  EXPECT_LE(model.batcher->Stats().buffer_bytes, size_t{4} << 20);
  EXPECT_EQ(model.batcher->Stats().inflight_requests, 0u);
}

}  // namespace
}  // namespace falaj::test

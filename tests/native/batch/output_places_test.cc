// Answers that are wanted in memory of the submitter's.
#include <gtest/gtest.h>

#include <array>

#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

constexpr float kUntouched = -1;

BatcherOptions Options() { return DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})}); }

// A request of one row whose answer is wanted in `memory`.
RefPtr<Request> Prepare(ModelFixture& model, uint64_t tag, float value, std::span<float> memory) {
  auto request = model.Prepare(tag, {Shape{1, 2}}, value);
  EXPECT_TRUE(request.ok());
  (*request)->output_places.assign(1, std::as_writable_bytes(memory));
  return *request;
}

void Submit(ModelFixture& model, const RefPtr<Request>& request) {
  model.batcher->Submit(request.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
}

TEST(OutputPlaces, AreWrittenByTheBackendWhenTheRequestRunsAlone) {
  ModelFixture model(Options());
  std::array<float, 3> memory{kUntouched, kUntouched, kUntouched};
  const auto request = Prepare(model, 0, 5, memory);
  Submit(model, request);
  model.sink->WaitFor(1);
  EXPECT_EQ(request->outputs()[0].data, memory.data());
  EXPECT_EQ(request->outputs()[0].shape, (Shape{1, 2}));
  EXPECT_EQ(memory, (std::array<float, 3>{11, 11, kUntouched}));
}

TEST(OutputPlaces, AreLeftAloneWhenTheAnswerIsLarger) {
  ModelFixture model(Options());
  std::array<float, 1> memory{kUntouched};
  const auto request = Prepare(model, 0, 5, memory);
  Submit(model, request);
  model.sink->WaitFor(1);
  EXPECT_NE(request->outputs()[0].data, memory.data());
  EXPECT_EQ(model.sink->values(0), (std::vector<float>{11, 11}));
  EXPECT_EQ(memory[0], kUntouched);
}

TEST(OutputPlaces, AreForTheReaderToFillWhenRequestsShareABatch) {
  ModelFixture model(Options());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  std::array<float, 2> first{kUntouched, kUntouched}, second = first;
  const std::array requests = {Prepare(model, 1, 1, first), Prepare(model, 2, 2, second)};
  for (const auto& request : requests) Submit(model, request);
  model.script.OpenGate();
  model.sink->WaitFor(3);
  ASSERT_EQ(model.script.rows(), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(first[0], kUntouched);
  EXPECT_EQ(second[1], kUntouched);
  EXPECT_EQ(model.sink->values(1)[0], 3);
  EXPECT_EQ(model.sink->values(2)[0], 5);
}

TEST(OutputPlaces, AreWrittenWhenABatchFailedAndEachIsTriedAlone) {
  ModelFixture model(Options());
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 2}}, 0);
  model.script.WaitUntilEntered(1);
  std::array<float, 2> first{kUntouched, kUntouched}, second = first;
  const std::array requests = {Prepare(model, 1, kPoison, first), Prepare(model, 2, 2, second)};
  for (const auto& request : requests) Submit(model, request);
  model.script.OpenGate();
  model.sink->WaitFor(3);
  EXPECT_EQ(model.sink->code(1), Code::kInvalidInput);
  EXPECT_EQ(requests[1]->outputs()[0].data, second.data());
  EXPECT_EQ(second[1], 5);
}

TEST(OutputPlaces, LiveUntilTheBatchOfACancelledRequestHasEnded) {
  ModelFixture model(Options());
  model.script.CloseGate();
  auto memory = std::make_shared<std::array<float, 2>>();
  const std::weak_ptr<std::array<float, 2>> alive = memory;
  auto request = Prepare(model, 0, 5, *memory);
  request->places_owner = std::move(memory);
  Submit(model, request);
  model.script.WaitUntilEntered(1);
  model.batcher->Cancel(request.get());
  model.sink->WaitFor(1);
  request = RefPtr<Request>();
  EXPECT_FALSE(alive.expired());
  model.script.OpenGate();
  model.batcher->Drain(TimePoint::max());
  EXPECT_TRUE(alive.expired());
}

}  // namespace
}  // namespace falaj::test

// A backend that answers for each request of a batch by itself.
#include <gtest/gtest.h>

#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

BatcherOptions Options() {
  BatcherOptions options = DefaultOptions({Spec("x", {-1, 1})}, {Spec("y", {-1, 1})});
  options.tells_members = true;
  return options;
}

// Tags 1 and up, of one row each, in one batch behind tag 0.
void AskTogether(ModelFixture& model, const std::vector<float>& values) {
  model.script.CloseGate();
  model.Ask(0, {Shape{1, 1}}, 0);
  model.script.WaitUntilEntered(1);
  for (size_t i = 0; i < values.size(); ++i) model.Ask(i + 1, {Shape{1, 1}}, values[i]);
  model.script.OpenGate();
  model.sink->WaitFor(values.size() + 1);
  ASSERT_EQ(model.script.rows().size(), 2u);
}

TEST(Members, AreRefusedAloneWhereTheOthersOfTheirBatchAreAnswered) {
  ModelFixture model(Options());
  AskTogether(model, {1, kRefused, 3});
  EXPECT_EQ(model.sink->values(1)[0], 3);
  EXPECT_EQ(model.sink->code(2), Code::kInvalidInput);
  EXPECT_EQ(model.sink->values(3)[0], 7);
  const ModelStats stats = model.batcher->Stats();
  EXPECT_EQ(stats.requests_ok, 3u);
  EXPECT_EQ(stats.requests_failed, 1u);
  EXPECT_EQ(stats.retried_alone, 0u);
}

TEST(Members, AreToldThatTheirFeaturesAreStale) {
  ModelFixture model(Options());
  AskTogether(model, {1, kStale, 3});
  EXPECT_FALSE(model.sink->stale(1));
  EXPECT_TRUE(model.sink->stale(2));
  EXPECT_FALSE(model.sink->stale(3));
}

TEST(Members, AreNotLookedAtWhereTheModelDoesNotAskForThem) {
  BatcherOptions options = Options();
  options.tells_members = false;
  ModelFixture model(std::move(options));
  AskTogether(model, {1, kRefused});
  EXPECT_EQ(model.sink->values(2)[0], 2 * kRefused + 1);
}

}  // namespace
}  // namespace falaj::test

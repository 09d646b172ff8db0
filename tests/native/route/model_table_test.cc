#include "route/model_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

using testing::HasSubstr;

BatcherOptions Version(int64_t version) {
  BatcherOptions options = DefaultOptions({Spec("x", {-1, 2})}, {Spec("y", {-1, 2})});
  options.version = version;
  return options;
}

class ModelTableTest : public testing::Test {
 protected:
  // A table of one model "m" that serves `serving` and has the other version too.
  std::shared_ptr<ModelEntries> Serving(const ModelFixture& serving) const {
    auto entries = std::make_shared<ModelEntries>();
    ModelEntry& entry = (*entries)[std::string("m")];
    entry.versions = {{1, one_.batcher}, {2, two_.batcher}};
    entry.serving = serving.batcher;
    return entries;
  }

  ModelFixture one_{Version(1)};
  ModelFixture two_{Version(2)};
  ModelTable table_;
};

TEST_F(ModelTableTest, FindsTheServedAndTheNamedVersion) {
  table_.Publish(Serving(two_));
  EXPECT_EQ((*table_.Find("m", 0))->options().version, 2);
  EXPECT_EQ((*table_.Find("m", 1))->options().version, 1);
}

TEST_F(ModelTableTest, SaysWhatThereIsWhenThereIsNoSuchModelOrVersion) {
  EXPECT_THAT(table_.Find("m", 0).status().message(), HasSubstr("loaded models: none"));
  table_.Publish(Serving(two_));
  const Status model = table_.Find("n", 0).status();
  EXPECT_EQ(model.code(), Code::kNotFound);
  EXPECT_THAT(model.message(), HasSubstr("model 'n' is not known; loaded models: 'm'"));
  const Status version = table_.Find("m", 3).status();
  EXPECT_EQ(version.code(), Code::kNotFound);
  EXPECT_THAT(version.message(), HasSubstr("no version 3 in service; versions in service: 1, 2"));
}

TEST_F(ModelTableTest, SaysWhyAKnownModelIsNotServed) {
  auto entries = std::make_shared<ModelEntries>();
  (*entries)[std::string("m")].why_not = std::string("version 1: no such file");
  table_.Publish(entries);
  const Status status = table_.Find("m", 0).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("version 1: no such file"));
}

TEST_F(ModelTableTest, ReadersSeeOneOfTheTablesWhileTheyAreSwapped) {
  table_.Publish(Serving(one_));
  std::atomic<bool> stop{false};
  std::atomic<int> other{0};
  std::atomic<int> seen[3] = {0, 0, 0};
  {
    std::vector<std::jthread> readers;
    for (int i = 0; i < 3; ++i) {
      readers.emplace_back([&] {
        while (!stop) {
          auto lease = table_.Find("m", 0);
          const int64_t version = lease.ok() ? (*lease)->options().version : 0;
          (version == 1 || version == 2 ? seen[version] : other).fetch_add(1);
        }
      });
    }
    for (int i = 0; seen[1] < 1000 || seen[2] < 1000; ++i) table_.Publish(Serving(i % 2 == 0 ? two_ : one_));
    stop = true;
  }
  EXPECT_EQ(other, 0);
  EXPECT_TRUE(one_.batcher->Drain(one_.clock.Now() + std::chrono::seconds(30)));
}

TEST_F(ModelTableTest, ALeaseKeepsTheVersionFromBeingDrained) {
  table_.Publish(Serving(one_));
  {
    const ModelLease lease = std::move(table_.Find("m", 0)).value();
    table_.Publish(Serving(two_));
    EXPECT_FALSE(one_.batcher->Drain(one_.clock.Now() + std::chrono::milliseconds(1)));
    // Whoever holds it can still ask, and is answered.
    one_.Ask(1, {Shape{1, 2}}, 1);
    one_.sink->WaitFor(1);
    EXPECT_EQ(one_.sink->code(1), Code::kOk);
  }
  EXPECT_TRUE(one_.batcher->Drain(one_.clock.Now() + std::chrono::seconds(30)));
}

TEST_F(ModelTableTest, ALeaseThatMovesIsGivenBackOnce) {
  table_.Publish(Serving(one_));
  {
    ModelLease first = std::move(table_.Find("m", 0)).value();
    const ModelLease second = std::move(first);
    EXPECT_FALSE(one_.batcher->Drain(one_.clock.Now()));
  }
  EXPECT_TRUE(one_.batcher->Drain(one_.clock.Now() + std::chrono::seconds(30)));
}

}  // namespace
}  // namespace falaj::test

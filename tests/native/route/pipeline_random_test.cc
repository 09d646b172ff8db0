// Random graphs against the same steps computed one behind the other.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fakes/pipeline_fixture.h"

namespace falaj::test {
namespace {

struct Graph {
  PipelinePlan plan;
  std::vector<size_t> sources;  // by tensor: what it is made of
};

// Each step has one or two inputs among the tensors before it and makes one or two more. All ends are
// outputs.
Graph RandomGraph(std::mt19937_64& random, const std::string& name) {
  Graph graph;
  PipelinePlan& plan = graph.plan;
  plan.name = name;
  plan.inputs = 1 + random() % 2;
  for (size_t i = 0; i < plan.inputs; ++i) plan.tensors.push_back({"x" + std::to_string(i), DataType::kFp32});
  graph.sources.assign(plan.inputs, 0);
  std::vector<bool> used(plan.inputs, false);
  const size_t steps = 1 + random() % 8;
  for (size_t s = 0; s < steps; ++s) {
    const size_t two_in = random() % 2;
    const size_t two_out = random() % 2;
    PipelineStep step;
    step.name = "s" + std::to_string(s);
    step.model = "m" + std::to_string(1 + two_in) + std::to_string(1 + two_out);
    const size_t before = plan.tensors.size();
    for (size_t i = 0; i <= two_in; ++i) {
      const size_t tensor = random() % before;
      used[tensor] = true;
      step.inputs.push_back({"x" + std::to_string(i), tensor});
    }
    for (size_t i = 0; i <= two_out; ++i) {
      step.outputs.push_back({"y" + std::to_string(i), plan.tensors.size()});
      graph.sources.push_back(step.inputs[i % step.inputs.size()].tensor);
      plan.tensors.push_back({"t" + std::to_string(plan.tensors.size()), DataType::kFp32});
      used.push_back(false);
    }
    plan.steps.push_back(std::move(step));
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) plan.outputs.push_back({i});
  }
  return graph;
}

float Expected(const Graph& graph, size_t tensor, float x) {
  return tensor < graph.plan.inputs ? x : 2 * Expected(graph, graph.sources[tensor], x) + 1;
}

// Their models keep answers, or not.
class RandomPipelines : public testing::TestWithParam<bool> {
 protected:
  RandomPipelines() {
    for (size_t inputs = 1; inputs <= 2; ++inputs) {
      for (size_t outputs = 1; outputs <= 2; ++outputs) {
        const std::string name = "m" + std::to_string(inputs) + std::to_string(outputs);
        BatcherOptions options = PipelineFixture::OptionsOf(name, inputs, outputs);
        if (GetParam()) options.cache.max_bytes = size_t{1} << 20;
        models_.AddModel(std::move(options));
      }
    }
    for (size_t i = 0; i < 25; ++i) {
      graphs_.push_back(RandomGraph(random_, "p" + std::to_string(i)));
      EXPECT_TRUE(graphs_.back().plan.Check().ok());
      models_.AddPipeline(graphs_.back().plan);
    }
  }
  RefPtr<Request> Ask(uint64_t tag, uint64_t choice) {
    return models_.Ask(graphs_[tag % graphs_.size()].plan.name, tag, static_cast<float>(tag % 16),
                       1 + static_cast<int64_t>(choice % 4), TimePoint::max(),
                       choice / 4 % 2 == 0 ? Batcher::RunHere::kIfShort : Batcher::RunHere::kNever);
  }
  void ExpectRight(uint64_t tag, const PipelineAnswer& answer) {
    const Graph& graph = graphs_[tag % graphs_.size()];
    ASSERT_EQ(answer.values.size(), graph.plan.outputs.size());
    for (size_t i = 0; i < answer.values.size(); ++i) {
      const float expected = Expected(graph, graph.plan.outputs[i].tensor, static_cast<float>(tag % 16));
      for (const float value : answer.values[i]) ASSERT_EQ(value, expected) << graph.plan.name;
    }
  }
  uint64_t hits() {
    uint64_t hits = 0;
    for (const char* model : {"m11", "m12", "m21", "m22"}) hits += models_.Of(model).Stats().cache.hits;
    return hits;
  }

  std::mt19937_64 random_{7};
  PipelineFixture models_;
  std::vector<Graph> graphs_;
};
INSTANTIATE_TEST_SUITE_P(Pipeline, RandomPipelines, testing::Bool());

TEST_P(RandomPipelines, AnswerAsTheirStepsDoOneBehindTheOther) {
  constexpr uint64_t kRequests = 1000;
  for (uint64_t tag = 0; tag < kRequests; ++tag) Ask(tag, random_());
  models_.sink->WaitFor(kRequests);
  for (const auto& [tag, answer] : models_.sink->all()) {
    ASSERT_TRUE(answer.status.ok()) << answer.status.message();
    ExpectRight(tag, answer);
  }
  EXPECT_EQ(hits() > 0, GetParam());
}

TEST_P(RandomPipelines, AreAnsweredOrCancelledOnceWhenTheyAreWithdrawnAtAnyMoment) {
  constexpr uint64_t kAskers = 3, kEach = 500;
  std::vector<std::thread> askers;
  for (uint64_t asker = 0; asker < kAskers; ++asker) {
    askers.emplace_back([this, asker] {
      std::mt19937_64 random(asker);
      RefPtr<Request> last;
      for (uint64_t i = 0; i < kEach; ++i) {
        const RefPtr<Request> request = Ask(asker * kEach + i, random());
        if (random() % 3 == 0) request->batcher().Cancel(request.get());
        if (last && random() % 3 == 0) last->batcher().Cancel(last.get());
        last = request;
      }
    });
  }
  for (std::thread& asker : askers) asker.join();
  models_.sink->WaitFor(kAskers * kEach);
  for (const auto& [tag, answer] : models_.sink->all()) {
    ASSERT_EQ(answer.times, 1) << tag;
    if (answer.status.ok()) {
      ExpectRight(tag, answer);
    } else {
      ASSERT_EQ(answer.status.code(), Code::kCancelled) << answer.status.message();
    }
  }
  for (const auto& batcher : models_.batchers) {
    EXPECT_TRUE(batcher->Drain(models_.clock.Now() + std::chrono::seconds(30))) << batcher->Name();
    EXPECT_EQ(batcher->Stats().waiting_rows, 0) << batcher->Name();
  }
}

}  // namespace
}  // namespace falaj::test

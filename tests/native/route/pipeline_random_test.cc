// Random graphs against the same steps computed one behind the other.
#include <gtest/gtest.h>

#include <random>

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

TEST(RandomPipelines, AnswerAsTheirStepsDoOneBehindTheOther) {
  std::mt19937_64 random(7);
  PipelineFixture models;
  for (size_t inputs = 1; inputs <= 2; ++inputs) {
    for (size_t outputs = 1; outputs <= 2; ++outputs) {
      models.AddModel("m" + std::to_string(inputs) + std::to_string(outputs), inputs, outputs);
    }
  }
  std::vector<Graph> graphs;
  for (size_t i = 0; i < 25; ++i) {
    graphs.push_back(RandomGraph(random, "p" + std::to_string(i)));
    ASSERT_TRUE(graphs.back().plan.Check().ok());
    models.AddPipeline(graphs.back().plan);
  }
  constexpr uint64_t kRequests = 1000;
  for (uint64_t tag = 0; tag < kRequests; ++tag) {
    models.Ask(graphs[tag % graphs.size()].plan.name, tag, static_cast<float>(tag % 16),
               1 + static_cast<int64_t>(random() % 4), TimePoint::max(),
               random() % 2 == 0 ? Batcher::RunHere::kIfShort : Batcher::RunHere::kNever);
  }
  models.sink->WaitFor(kRequests);
  for (const auto& [tag, answer] : models.sink->all()) {
    const Graph& graph = graphs[tag % graphs.size()];
    ASSERT_TRUE(answer.status.ok()) << answer.status.message();
    ASSERT_EQ(answer.values.size(), graph.plan.outputs.size());
    for (size_t i = 0; i < answer.values.size(); ++i) {
      const float expected = Expected(graph, graph.plan.outputs[i].tensor, static_cast<float>(tag % 16));
      for (const float value : answer.values[i]) ASSERT_EQ(value, expected) << graph.plan.name;
    }
  }
}

}  // namespace
}  // namespace falaj::test

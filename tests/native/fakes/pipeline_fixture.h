// A table of fake models and pipelines over them, and a sink that keeps whole answers.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fakes/model_fixture.h"
#include "route/pipeline.h"

namespace falaj::test {

struct PipelineAnswer {
  int times = 0;  // delivered
  Status status;
  std::vector<std::vector<float>> values;  // by output
  std::vector<Shape> shapes;
  bool stale = false;
};

class AnswerSink final : public CompletionSink {
 public:
  void Deliver(std::span<Request* const> done) override {
    MutexLock lock(mu_);
    calls_ += 1;
    for (Request* request : done) {
      PipelineAnswer& answer = answers_[request->tag];
      ++answer.times;
      answer.status = request->status();
      answer.stale = request->features_stale();
      for (const TensorView& view : request->outputs()) {
        const auto* first = static_cast<const float*>(view.data);
        answer.values.emplace_back(first, first + view.elements());
        answer.shapes.push_back(view.shape);
      }
      request->Unref();
      ++delivered_;
    }
    changed_.NotifyAll();
  }
  void WaitFor(size_t requests) {
    MutexLock lock(mu_);
    while (delivered_ < requests) changed_.Wait(mu_);
  }
  PipelineAnswer At(uint64_t tag) const {
    MutexLock lock(mu_);
    return answers_.at(tag);
  }
  std::map<uint64_t, PipelineAnswer> all() const {
    MutexLock lock(mu_);
    return answers_;
  }
  size_t delivered() const {
    MutexLock lock(mu_);
    return delivered_;
  }
  int calls() const {
    MutexLock lock(mu_);
    return calls_;
  }

 private:
  mutable Mutex mu_;
  CondVar changed_;
  std::map<uint64_t, PipelineAnswer> answers_ GUARDED_BY(mu_);
  size_t delivered_ GUARDED_BY(mu_) = 0;
  int calls_ GUARDED_BY(mu_) = 0;
};

// Every model has FP32 [-1, 2] inputs x0, x1, ... and outputs y0, y1, ... with yi = 2 x(i mod inputs) + 1,
// and batches up to 8 rows on one instance.
class PipelineFixture {
 public:
  PipelineFixture() : pool(2, &clock), timer(&clock) {}
  ~PipelineFixture() { CloseAll(); }

  static BatcherOptions OptionsOf(const std::string& name, size_t inputs, size_t outputs,
                                  int64_t version = 1) {
    std::vector<TensorSpec> in, out;
    for (size_t i = 0; i < inputs; ++i) in.push_back(Spec("x" + std::to_string(i), {-1, 2}));
    for (size_t i = 0; i < outputs; ++i) out.push_back(Spec("y" + std::to_string(i), {-1, 2}));
    BatcherOptions options = DefaultOptions(std::move(in), std::move(out));
    options.model = name;
    options.version = version;
    options.run_on_submitter = true;
    return options;
  }

  void AddModel(BatcherOptions options) {
    auto& script = scripts[options.model];
    if (!script) script = std::make_unique<Script>();
    const ModelSignature signature = options.signature;
    auto made = Batcher::Make(std::move(options), std::make_unique<FakeBackend>(signature, script.get()),
                              &pool, &timer, &clock);
    ASSERT_TRUE(made.ok()) << made.status().message();
    (*made)->Learn(1, Nanos(1000));
    Serve(std::move(made).value());
  }
  void AddModel(const std::string& name, size_t inputs = 1, size_t outputs = 1) {
    AddModel(OptionsOf(name, inputs, outputs));
  }

  // The pipeline's inputs are `plan.inputs` tensors, all of [-1, 2] unless `shape` says otherwise.
  void AddPipeline(PipelinePlan plan, std::vector<int64_t> shape = {-1, 2}, int64_t max_queue_rows = 4096,
                   std::optional<Nanos> default_timeout = std::nullopt) {
    BatcherOptions options = OptionsOf(plan.name, 0, 0, plan.version);
    for (size_t i = 0; i < plan.inputs; ++i) {
      options.signature.inputs.push_back(Spec(plan.tensors[i].name, shape));
      InputPlan input;
      input.source = static_cast<int>(i);
      options.inputs.push_back(input);
      options.mask_types.push_back(DataType::kInt64);
    }
    for (const PipelineOutput& output : plan.outputs) {
      options.signature.outputs.push_back(Spec(plan.tensors[output.tensor].name, {-1, 2}));
    }
    options.outputs.resize(plan.outputs.size());
    options.cores_per_batch = 0;
    options.max_queue_rows = max_queue_rows;
    options.levels[0].default_timeout = default_timeout;
    if (plan.keeps_sequences) options.sequences.emplace();
    auto pipeline = Pipeline::Make(std::move(plan), &table, std::make_shared<Tracing>());
    ASSERT_TRUE(pipeline.ok()) << pipeline.status().message();
    pipelines.push_back(*pipeline);
    auto made = Batcher::MakeFlow(std::move(options), std::move(pipeline).value(), &pool, &timer, &clock);
    ASSERT_TRUE(made.ok()) << made.status().message();
    Serve(std::move(made).value());
  }

  void Serve(std::shared_ptr<Batcher> batcher) {
    batchers.push_back(batcher);
    ModelEntry& entry = entries[batcher->options().model];
    entry.versions[batcher->options().version] = batcher;
    entry.serving = std::move(batcher);
    table.Publish(std::make_shared<ModelEntries>(entries));
  }
  Batcher& Of(const std::string& model) { return *entries.at(model).serving; }
  Script& ScriptOf(const std::string& model) { return *scripts.at(model); }

  Result<RefPtr<Request>> Prepare(const std::string& model, uint64_t tag, float value, int64_t rows = 1,
                                  TimePoint deadline = TimePoint::max(), RequestSequence sequence = {}) {
    Batcher& batcher = Of(model);
    RefPtr<Request> request = batcher.NewRequest();
    request->sink = sink;
    request->tag = tag;
    request->deadline = deadline;
    request->sequence = std::move(sequence);
    std::vector<Shape> shapes;
    for (const TensorSpec& spec : batcher.signature().inputs) shapes.push_back(spec.OfRows(rows));
    FALAJ_RETURN_IF_ERROR(batcher.Reserve(*request, shapes));
    for (TensorView& view : request->inputs()) {
      std::fill_n(static_cast<float*>(view.data), view.elements(), value);
    }
    return request;
  }
  RefPtr<Request> Ask(const std::string& model, uint64_t tag, float value, int64_t rows = 1,
                      TimePoint deadline = TimePoint::max(),
                      Batcher::RunHere run_here = Batcher::RunHere::kNever) {
    auto request = Prepare(model, tag, value, rows, deadline);
    EXPECT_TRUE(request.ok()) << request.status().message();
    Of(model).Submit(request->get(), Batcher::Deadline::kByTimer, run_here);
    return *request;
  }

  void CloseAll() {
    for (auto& [name, script] : scripts) script->OpenGate();
    // Pipelines first: they are behind their models.
    for (auto batcher = batchers.rbegin(); batcher != batchers.rend(); ++batcher) (*batcher)->Close();
  }

  ShiftedClock clock;
  ExecutorPool pool;
  DeadlineTimer timer;
  ModelTable table;
  std::map<std::string, std::unique_ptr<Script>> scripts;
  ModelEntries entries;
  std::vector<std::shared_ptr<Batcher>> batchers;
  std::vector<std::weak_ptr<Pipeline>> pipelines;
  std::shared_ptr<AnswerSink> sink = std::make_shared<AnswerSink>();
};

// x -> a -> h0 -> b -> ... : the models in a row.
inline PipelinePlan ChainOf(std::string name, const std::vector<std::string>& models) {
  PipelinePlan plan;
  plan.name = std::move(name);
  plan.inputs = 1;
  plan.tensors.push_back({"x", DataType::kFp32});
  for (size_t i = 0; i < models.size(); ++i) {
    plan.tensors.push_back({"h" + std::to_string(i), DataType::kFp32});
    plan.steps.push_back({models[i], models[i], 0, {{"x0", i}}, {{"y0", i + 1}}, std::nullopt});
  }
  plan.outputs.push_back({models.size()});
  return plan;
}

// x -> a -> (b, c) -> d, which has two inputs and two outputs.
inline PipelinePlan Diamond(std::string name = "diamond") {
  PipelinePlan plan;
  plan.name = std::move(name);
  plan.inputs = 1;
  for (const char* tensor : {"x", "ha", "hb", "hc", "left", "right"}) {
    plan.tensors.push_back({tensor, DataType::kFp32});
  }
  plan.steps = {{"a", "a", 0, {{"x0", 0}}, {{"y0", 1}}, std::nullopt},
                {"b", "b", 0, {{"x0", 1}}, {{"y0", 2}}, std::nullopt},
                {"c", "c", 0, {{"x0", 1}}, {{"y0", 3}}, std::nullopt},
                {"d", "d", 0, {{"x0", 2}, {"x1", 3}}, {{"y0", 4}, {"y1", 5}}, std::nullopt}};
  plan.outputs = {{4}, {5}};
  return plan;
}

inline void AddDiamondModels(PipelineFixture& models) {
  for (const char* name : {"a", "b", "c"}) models.AddModel(name);
  models.AddModel("d", 2, 2);
}

}  // namespace falaj::test

// What has no rows, no elements or no characters, and strings that hold NUL, through a whole batch.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

// Keeps the strings of each answer.
class StringSink final : public CompletionSink {
 public:
  void Deliver(std::span<Request* const> done) override {
    MutexLock lock(mu_);
    for (Request* request : done) {
      std::vector<std::string>& strings = answers_[request->tag];
      if (request->status().ok()) {
        const TensorView& view = request->outputs()[0];
        const auto* elements = static_cast<const std::string_view*>(view.data);
        for (int64_t i = 0; i < view.elements(); ++i) strings.emplace_back(elements[i]);
      }
      request->Unref();
    }
    changed_.NotifyAll();
  }
  std::map<uint64_t, std::vector<std::string>> WaitFor(size_t requests) {
    MutexLock lock(mu_);
    while (answers_.size() < requests) changed_.Wait(mu_);
    return answers_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::map<uint64_t, std::vector<std::string>> answers_;
};

const std::vector<std::vector<std::string>> kRequests = {
    {std::string("a\0b", 3), ""},         {}, {std::string(1, '\0'), std::string(70'000, 'x')}, {"", ""},
    {std::string("\0\0", 2), "\xff\xfe"},
};

// One row of two strings, or no row.
Status AskStrings(Batcher& batcher, uint64_t tag, const std::shared_ptr<CompletionSink>& sink) {
  const auto& strings = kRequests[tag];
  size_t characters = 0;
  for (const std::string& string : strings) characters += string.size();
  const RefPtr<Request> request = batcher.NewRequest();
  request->sink = sink;
  request->tag = tag;
  const Shape shape{static_cast<int64_t>(strings.size() / 2), 2};
  FALAJ_RETURN_IF_ERROR(batcher.Reserve(*request, std::span(&shape, 1), characters));
  auto* elements = static_cast<std::string_view*>(request->inputs()[0].data);
  auto* next = reinterpret_cast<char*>(request->payload());
  for (size_t i = 0; i < strings.size(); ++i) {
    std::memcpy(next, strings[i].data(), strings[i].size());
    elements[i] = {next, strings[i].size()};
    next += strings[i].size();
  }
  batcher.Submit(request.get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kNever);
  return Status::Ok();
}

TEST(Strings, ComeBackAsTheyWereAloneAndTogether) {
  for (const bool together : {false, true}) {
    ModelFixture model(
        DefaultOptions({Spec("x", {-1, 2}, DataType::kBytes)}, {Spec("y", {-1, 2}, DataType::kBytes)}));
    const auto sink = std::make_shared<StringSink>();
    if (together) {  // behind this one they wait, and make one batch
      model.script.CloseGate();
      ASSERT_TRUE(AskStrings(*model.batcher, 0, sink).ok());
      model.script.WaitUntilEntered(1);
    }
    for (uint64_t tag = together ? 1 : 0; tag < kRequests.size(); ++tag) {
      ASSERT_TRUE(AskStrings(*model.batcher, tag, sink).ok());
      if (!together) sink->WaitFor(tag + 1);
    }
    model.script.OpenGate();
    const auto answers = sink->WaitFor(kRequests.size());
    for (uint64_t tag = 0; tag < kRequests.size(); ++tag) EXPECT_EQ(answers.at(tag), kRequests[tag]) << tag;
    EXPECT_EQ(model.script.rows().size(), together ? 2u : kRequests.size());
  }
}

TEST(EmptyRequests, AreAnsweredWithNothingBetweenOthersOfTheirBatch) {
  for (const bool fixed : {true, false}) {
    const std::vector<int64_t> shape = {-1, fixed ? 2 : -1};
    ModelFixture model(DefaultOptions({Spec("x", shape)}, {Spec("y", shape)}));
    model.script.CloseGate();
    model.Ask(0, {Shape{0, 2}}, 0);
    model.script.WaitUntilEntered(1);
    const int64_t rows[] = {0, 0, 2, 0, 1, 0};  // by tag
    for (uint64_t tag = 1; tag <= 5; ++tag) model.Ask(tag, {Shape{rows[tag], 2}}, static_cast<float>(tag));
    model.script.OpenGate();
    model.sink->WaitFor(6);
    EXPECT_EQ(model.script.rows()[1], 3);  // empty ones and others in one batch, after one alone
    for (uint64_t tag = 0; tag <= 5; ++tag) {
      EXPECT_EQ(model.sink->code(tag), Code::kOk);
      EXPECT_EQ(model.sink->shape(tag), (Shape{rows[tag], 2}));
      if (rows[tag] > 0) {
        EXPECT_EQ(model.sink->values(tag)[0], 2 * static_cast<float>(tag) + 1);
      }
    }
  }
}

TEST(EmptyRequests, MayHaveRowsWithoutElements) {
  ModelFixture model(DefaultOptions({Spec("x", {-1, -1})}, {Spec("y", {-1, -1})}));
  model.Ask(1, {Shape{3, 0}}, 0);
  model.sink->WaitFor(1);
  EXPECT_EQ(model.sink->code(1), Code::kOk);
  EXPECT_EQ(model.sink->shape(1), (Shape{3, 0}));
}

}  // namespace
}  // namespace falaj::test

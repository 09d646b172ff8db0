// Sampling, and records on their way from several threads to the one that takes them.
#include "observe/tracing.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "observe/tracer.h"

namespace falaj {
namespace {

constexpr size_t kNoBound = SIZE_MAX;
const std::string kParent = "-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-";
const std::string kSampled = "00" + kParent + "01";
const std::string kUnsampled = "00" + kParent + "00";

TraceRuleSpecs EveryNth(uint32_t rate, int64_t count = -1) {
  TraceRuleSpecs specs;
  specs.all = {true, rate, count, true, true};
  return specs;
}

void Note(Tracer& tracer, std::string_view model = "m", std::string_view parent = "") {
  if (auto record = tracer.Begin(model, "", parent, "")) tracer.End(std::move(record));
}

TEST(TraceRingTest, RefusesWhatDoesNotFit_WhenFull) {
  TraceRing ring;
  TraceRecord in{}, out{};
  EXPECT_FALSE(ring.Pop(out));
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < TraceRing::kRecords; ++i) {
      in.version = static_cast<int64_t>(i);
      in.SetText(std::to_string(i), "p", "s");
      ASSERT_TRUE(ring.Push(in));
    }
    EXPECT_FALSE(ring.Push(in));
    EXPECT_EQ(ring.size(), TraceRing::kRecords);
    for (size_t i = 0; i < TraceRing::kRecords; ++i) {
      ASSERT_TRUE(ring.Pop(out));
      ASSERT_EQ(out.version, static_cast<int64_t>(i));
      ASSERT_EQ(out.name(), std::to_string(i));
      ASSERT_EQ(out.path(), "p");
      ASSERT_EQ(out.state(), "s");
    }
    EXPECT_FALSE(ring.Pop(out));
  }
}

TEST(TraceRecordTest, CutsBetweenCharacters_WhenTextIsLong) {
  TraceRecord record;
  record.SetText(std::string(127, 'a') + "\xd9\x81", std::string(256, 'p'), std::string(600, 's'));
  EXPECT_EQ(record.name(), std::string(127, 'a'));
  EXPECT_EQ(record.path(), std::string(256, 'p'));
  EXPECT_EQ(record.state(), std::string(kMostTraceState, 's'));
  EXPECT_LE(record.bytes(), sizeof(TraceRecord));
}

TEST(TraceRecordTest, HasNoText_WhenItIsGivenNone) {
  TraceRecord record;
  record.SetText({}, {}, {});  // views of no memory
  EXPECT_TRUE(record.name().empty() && record.path().empty() && record.state().empty());
}

TEST(TracingTest, IsOff_UntilRulesSampleSomething) {
  const auto tracing = std::make_shared<Tracing>();
  Tracer tracer(tracing);
  EXPECT_FALSE(tracer.on());
  Note(tracer, "m", kSampled);
  TraceRuleSpecs one;
  one.models["m"].on = true;
  tracing->Publish(one);
  EXPECT_TRUE(tracer.on());
  Note(tracer, "other", kSampled);
  EXPECT_EQ(tracing->counts().recorded, 0u);
  Note(tracer, "m", kSampled);
  EXPECT_EQ(tracing->counts().recorded, 1u);
  tracing->Publish({});
  EXPECT_FALSE(tracer.on());
  Note(tracer, "m", kSampled);
  EXPECT_EQ(tracing->counts().recorded, 1u);
}

TEST(TracingTest, FollowsTheClient_OnlyWhereItShall) {
  const auto tracing = std::make_shared<Tracing>();
  Tracer tracer(tracing);
  tracing->Publish(EveryNth(1000));
  Note(tracer, "m", kSampled);
  Note(tracer, "m", kUnsampled);
  EXPECT_EQ(tracing->counts().recorded, 1u);
  TraceRuleSpecs specs = EveryNth(1);
  specs.all.parent_based = false;
  tracing->Publish(specs);
  const auto record = tracer.Begin("m", "", kUnsampled, "a=b");
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->context.trace_id[0], 0x0a);
  EXPECT_EQ(record->context.parent_id[0], 0xb7);
  EXPECT_EQ(record->state(), "a=b");
  EXPECT_TRUE(record->context.sampled);
}

TEST(TracingTest, GoesOnCounting_WhenOnlyOtherRulesChange) {
  const auto tracing = std::make_shared<Tracing>();
  Tracer tracer(tracing);
  TraceRuleSpecs specs = EveryNth(1, 5);
  specs.models["m"] = {true, 3, 2, true, true};
  tracing->Publish(specs);
  for (int i = 0; i < 3; ++i) {
    Note(tracer);
    Note(tracer, "other");
  }
  EXPECT_EQ(tracing->Left(), (std::map<std::string, int64_t>{{"", 2}, {"m", 1}}));
  specs.models["m"].restart = false;
  tracing->Publish(specs);
  EXPECT_EQ(tracing->Left(), (std::map<std::string, int64_t>{{"", 5}, {"m", 1}}));
  for (int i = 0; i < 100; ++i) Note(tracer);
  EXPECT_EQ(tracing->Left().at("m"), 0);
  EXPECT_EQ(tracing->counts().recorded, 3u + 2u);
}

TEST(TracingTest, LosesNothingUncounted_WhenThreadsWriteAndOneTakes) {
  constexpr int kThreads = 4, kEach = 20'000, kRate = 3;
  const auto tracing = std::make_shared<Tracing>();
  tracing->Publish(EveryNth(kRate));
  std::atomic<bool> done{false};
  size_t taken = 0;
  std::thread taker([&] {
    std::string spans;
    for (bool last = false; !last;) {
      last = done.load();
      Tracing::Taken now{0, true};
      while (now.more) {
        spans.clear();
        now = tracing->Take(last ? Nanos(0) : std::chrono::milliseconds(5), 64 * 1024, spans);
        taken += now.requests;
        EXPECT_EQ(now.requests == 0, spans.empty());
      }
    }
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      Tracer tracer(tracing);  // gone before all is taken
      for (int j = 0; j < kEach; ++j) Note(tracer);
    });
  }
  for (std::thread& thread : threads) thread.join();
  TraceRecord step{};
  step.kind = TraceKind::kStep;
  step.context = tracing->Child({{1}, {2}, {3}, true});
  EXPECT_EQ(step.context.trace_id[0], 1);
  EXPECT_EQ(step.context.parent_id[0], 3);
  EXPECT_TRUE(step.context.sampled);
  tracing->Record(step);
  done.store(true);
  tracing->Wake();
  taker.join();
  const Tracing::Counts counts = tracing->counts();
  EXPECT_EQ(counts.recorded, static_cast<uint64_t>(kThreads * kEach / kRate) + 1);
  EXPECT_EQ(taken + counts.dropped, counts.recorded);
}

TEST(TracingTest, Returns_WhenHalfARingIsFullOrWoken) {
  const auto tracing = std::make_shared<Tracing>();
  tracing->Publish(EveryNth(1));
  Tracer tracer(tracing);
  std::thread writer([&] {
    for (size_t i = 0; i < TraceRing::kRecords / 2; ++i) Note(tracer);
  });
  std::string spans;
  // Far longer than the test may take.
  EXPECT_EQ(tracing->Take(std::chrono::hours(1), kNoBound, spans).requests, TraceRing::kRecords / 2);
  writer.join();
  tracing->Wake();
  EXPECT_EQ(tracing->Take(std::chrono::hours(1), kNoBound, spans).requests, 0u);
}

TEST(RandomIdsTest, AreDifferentAndNotZero_WhenManyAreMade) {
  std::set<std::array<uint8_t, 8>> seen;
  for (int generator = 0; generator < 10; ++generator) {
    RandomIds ids;
    for (int i = 0; i < 1000; ++i) seen.insert(ids.Span());
  }
  EXPECT_EQ(seen.size(), 10'000u);
  EXPECT_FALSE(seen.contains({}));
}

}  // namespace
}  // namespace falaj

#include "batch/response_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace falaj::test {
namespace {

constexpr TimePoint kStart{std::chrono::hours(1)};

Digest Key(uint64_t key) { return Digest{{key, key + 1}}; }

// `count` floats, all of them `value`.
std::shared_ptr<const CachedAnswer> Answer(int64_t count, float value) {
  std::vector<float> data(static_cast<size_t>(count), value);
  const TensorView output{DataType::kFp32, Shape{count}, data.data()};
  return CachedAnswer::CopyOf(std::span(&output, 1));
}

float ValueOf(const CachedAnswer& answer) { return *static_cast<const float*>(answer.outputs()[0].data); }

TEST(CachedAnswer, IsACopyOfEachOutput) {
  std::vector<float> numbers{1, 2};
  std::string texts = "abcdef";
  std::vector<std::string_view> elements{std::string_view(texts).substr(0, 2), "",
                                         std::string_view(texts).substr(2)};
  const std::vector<TensorView> outputs{{DataType::kFp32, Shape{2, 1}, numbers.data()},
                                        {DataType::kBytes, Shape{3}, elements.data()},
                                        {DataType::kInt64, Shape{0, 4}, nullptr}};
  const auto copy = CachedAnswer::CopyOf(outputs);
  numbers = {9, 9};
  texts = "xxxxxx";
  elements.assign(3, "y");
  ASSERT_EQ(copy->outputs().size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(copy->outputs()[i].shape, outputs[i].shape);
    EXPECT_EQ(copy->outputs()[i].type, outputs[i].type);
  }
  const auto* floats = static_cast<const float*>(copy->outputs()[0].data);
  EXPECT_EQ(std::vector<float>(floats, floats + 2), (std::vector<float>{1, 2}));
  const auto* views = static_cast<const std::string_view*>(copy->outputs()[1].data);
  EXPECT_EQ(std::vector<std::string_view>(views, views + 3),
            (std::vector<std::string_view>{"ab", "", "cdef"}));
  EXPECT_GE(copy->bytes(), 2 * sizeof(float) + 3 * sizeof(std::string_view) + 6);
}

TEST(ResponseCache, GivesNothingFromItsLastMomentOn) {
  ResponseCache cache({.max_bytes = 1 << 20, .ttl = std::chrono::milliseconds(10)});
  ResponseCache::Dropped dropped;
  cache.Keep(Key(1), Answer(1, 5), kStart, dropped);
  EXPECT_NE(cache.Find(Key(1), kStart + Nanos(9'999'999), dropped), nullptr);
  EXPECT_EQ(dropped.size(), 0u);
  EXPECT_EQ(cache.Find(Key(1), kStart + std::chrono::milliseconds(10), dropped), nullptr);
  EXPECT_EQ(dropped.size(), 1u);
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(ResponseCache, KeepsNoAnswerThatWouldTakeMoreThanItsShare) {
  const CacheOptions options{.max_bytes = 64 * 1024};
  EXPECT_TRUE(ResponseCache::IsKept(options, 4 * 1024));
  EXPECT_FALSE(ResponseCache::IsKept(options, options.max_bytes / ResponseCache::kLargestShare));
}

// What the cache is held against: all that was kept, the last used first.
class Reference {
 public:
  struct Kept {
    uint64_t key;
    float value;
    size_t bytes;
  };
  std::optional<float> Find(uint64_t key) {
    const auto found = Place(key);
    if (found == kept_.end()) return std::nullopt;
    std::rotate(kept_.begin(), found, found + 1);
    return kept_.front().value;
  }
  void Keep(uint64_t key, float value, size_t bytes) {
    if (const auto found = Place(key); found != kept_.end()) kept_.erase(found);
    kept_.insert(kept_.begin(), {key, value, bytes});
  }
  // Forgets the last used until those that are left are as many as the cache says that it has.
  void ShrinkTo(size_t entries) { kept_.resize(std::min(kept_.size(), entries)); }
  size_t size() const { return kept_.size(); }

 private:
  std::vector<Kept>::iterator Place(uint64_t key) {
    return std::find_if(kept_.begin(), kept_.end(), [key](const Kept& kept) { return kept.key == key; });
  }
  std::vector<Kept> kept_;
};

TEST(ResponseCache, KeepsWhatWasUsedLastWithinItsBytes) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    const CacheOptions options{.max_bytes = 20'000 + random() % 50'000};
    ResponseCache cache(options);
    Reference reference;
    size_t dropped_in_all = 0;
    for (int step = 0; step < 2'000; ++step) {
      const uint64_t key = random() % 60;
      ResponseCache::Dropped dropped;
      if (random() % 2 == 0) {
        const auto found = cache.Find(Key(key), kStart, dropped);
        const auto expected = reference.Find(key);
        ASSERT_EQ(found != nullptr, expected.has_value()) << "seed " << seed << " step " << step;
        if (found != nullptr) {
          ASSERT_EQ(ValueOf(*found), *expected);
        }
        continue;
      }
      const auto count = static_cast<int64_t>(1 + random() % 500);
      auto answer = Answer(count, static_cast<float>(step));
      const size_t bytes = answer->bytes();
      if (!ResponseCache::IsKept(options, bytes)) continue;
      cache.Keep(Key(key), std::move(answer), kStart, dropped);
      reference.Keep(key, static_cast<float>(step), bytes);
      ASSERT_LE(cache.bytes(), options.max_bytes);
      ASSERT_GE(cache.bytes(), bytes);
      // It drops no more than it must: with the last that it dropped it would be too large.
      if (dropped.size() > 0 && reference.size() > cache.entries()) {
        ASSERT_GT(cache.bytes() + dropped.back().answer->bytes() + 1024, options.max_bytes);
      }
      reference.ShrinkTo(cache.entries());
      dropped_in_all += dropped.size();
    }
    EXPECT_GT(dropped_in_all, 0u);
    EXPECT_GT(cache.entries(), 0u);
  }
}

TEST(ResponseCache, LeavesAnAnswerToThoseWhoHaveItWhenItIsDropped) {
  ResponseCache cache({.max_bytes = 1 << 20});
  ResponseCache::Dropped dropped;
  cache.Keep(Key(1), Answer(100, 5), kStart, dropped);
  const auto held = cache.Find(Key(1), kStart, dropped);
  cache.Clear(dropped);
  dropped.clear();
  EXPECT_EQ(cache.bytes(), 0u);
  EXPECT_EQ(ValueOf(*held), 5);
}

}  // namespace
}  // namespace falaj::test

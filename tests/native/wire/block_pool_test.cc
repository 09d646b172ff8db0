#include "wire/block_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace falaj::wire::test {
namespace {

TEST(BlockPool, KeepsWhatWasWrittenWhateverIsTakenAndGivenBesides) {
  BlockPool pool;
  std::mt19937_64 random(1);
  std::map<char*, std::string> held;
  for (int i = 0; i < 20'000; ++i) {
    const size_t bytes = random() % 2000;
    if (held.empty() || random() % 2 == 0) {
      auto* block = static_cast<char*>(pool.Take(bytes));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block) % alignof(std::max_align_t), 0u);
      std::memset(block, static_cast<int>(i), bytes);
      ASSERT_TRUE(held.emplace(block, std::string(bytes, static_cast<char>(i))).second);
      continue;
    }
    auto one = held.extract(
        std::next(held.begin(), static_cast<int64_t>(random() % std::min<size_t>(held.size(), 50))));
    ASSERT_EQ(std::string(one.key(), one.mapped().size()), one.mapped());
    if (random() % 2 == 0) {
      pool.Give(one.key());
      continue;
    }
    auto* moved = static_cast<char*>(pool.Resize(one.key(), bytes));
    const size_t same = std::min(bytes, one.mapped().size());
    ASSERT_EQ(std::string(moved, same), one.mapped().substr(0, same));
    held[moved] = one.mapped().substr(0, same);
  }
  for (const auto& [block, text] : held) pool.Give(block);
}

TEST(BlockPool, GivesTheSameBlockAgainWhereItKeepsAny) {
  BlockPool pool;
  void* const block = pool.Take(100);
  pool.Give(block);
  EXPECT_EQ(pool.kept_bytes(), BlockPool::kKeeps ? 128u : 0u);
  void* const again = pool.Take(120);
  EXPECT_EQ(pool.kept_bytes(), 0u);
  EXPECT_TRUE(again == block || !BlockPool::kKeeps);
  pool.Give(again);
}

TEST(BlockPool, KeepsNoMoreThanItsBound) {
  BlockPool pool;
  std::vector<void*> blocks;
  for (int i = 0; i < 2000; ++i) blocks.push_back(pool.Take(1000));
  for (int i = 0; i < 10; ++i) blocks.push_back(pool.Take(100'000));
  for (void* block : blocks) pool.Give(block);
  EXPECT_LE(pool.kept_bytes(), 256u * 1024);
}

TEST(BlockPool, ZeroesWhatIsTakenZeroed) {
  BlockPool pool;
  for (int i = 0; i < 2; ++i) {
    auto* block = static_cast<char*>(pool.TakeZeroed(3, 20));
    EXPECT_EQ(std::string(block, 60), std::string(60, '\0'));
    std::memset(block, 'x', 60);
    pool.Give(block);
  }
}

TEST(BlockPool, TakesNothingWhereMemoryIsOut) {
  BlockPool pool;
  constexpr size_t kMost = std::numeric_limits<size_t>::max();
  EXPECT_EQ(pool.TakeZeroed(kMost / 2, 3), nullptr);
  EXPECT_EQ(pool.Take(kMost), nullptr);
  void* const block = pool.Take(8);
  EXPECT_EQ(pool.Resize(block, kMost), nullptr);
  pool.Give(block);
  pool.Give(nullptr);
  void* const fresh = pool.Resize(nullptr, 8);
  EXPECT_NE(fresh, nullptr);
  pool.Give(fresh);
}

}  // namespace
}  // namespace falaj::wire::test

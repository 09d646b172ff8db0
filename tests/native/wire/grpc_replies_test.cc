#include "wire/grpc_replies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace falaj::wire {
namespace {

// What was written, taken in writes of at most `piece` bytes and `count` pieces.
std::string Taken(Http2Output& output, size_t piece, size_t count = 16) {
  std::string text;
  while (!output.empty()) {
    std::array<iovec, 16> pieces;
    const size_t got = output.Pieces(std::span(pieces).first(count));
    size_t wrote = 0;
    for (size_t i = 0; i < got && wrote < piece; ++i) {
      const size_t bytes = std::min(pieces[i].iov_len, piece - wrote);
      text.append(static_cast<const char*>(pieces[i].iov_base), bytes);
      wrote += bytes;
    }
    output.Took(wrote);
  }
  return text;
}

class GrpcRepliesTest : public testing::Test {
 protected:
  void AddSmall(std::string_view text) {
    replies.small() += text;
    replies.Added();
    all += text;
  }
  void AddLarge(size_t bytes, char fill) {
    auto large = std::make_shared<const std::string>(bytes, fill);
    all += *large;
    ASSERT_TRUE(replies.Add(std::move(large)));
  }

  ClientShares shares{WireOptions()};
  BufferBudget budget{&shares};
  GrpcReplies replies{&budget};
  Http2Output output;
  std::string all;
};

TEST_F(GrpcRepliesTest, KeepsTheOrderWhenSmallAndLargeAreMixed) {
  for (const size_t frame : {size_t{1}, size_t{100}, size_t{16384}, size_t{1} << 20}) {
    for (const size_t write : {size_t{7}, size_t{5000}, SIZE_MAX}) {
      all.clear();
      AddSmall("a");
      AddSmall("bc");
      AddLarge(20'000, 'd');
      AddSmall("e");
      AddLarge(17'000, 'f');
      EXPECT_EQ(budget.used(), replies.bytes());
      std::string text;
      while (!replies.empty()) {
        replies.Write(std::min(frame, replies.bytes()), output);
        text += Taken(output, write, 3);
      }
      EXPECT_EQ(text, all);
      EXPECT_EQ(budget.used(), 0u);
    }
  }
}

TEST_F(GrpcRepliesTest, DoesNotCopyWhenAMessageIsLarge) {
  auto large = std::make_shared<const std::string>(100'000, 'x');
  ASSERT_TRUE(replies.Add(large));
  replies.Write(50'000, output);
  std::array<iovec, 4> pieces;
  ASSERT_EQ(output.Pieces(pieces), 1u);
  EXPECT_EQ(pieces[0].iov_base, large->data());
  // It lives as long as the output needs it.
  const std::weak_ptr<const std::string> watch = large;
  large.reset();
  replies.Clear();
  EXPECT_FALSE(watch.expired());
  output.Took(50'000);
  EXPECT_TRUE(watch.expired());
}

TEST_F(GrpcRepliesTest, StaysSmallWhenItNeverRunsDry) {
  AddSmall(std::string(1000, 'x'));
  for (int i = 0; i < 10'000; ++i) {
    AddSmall(std::string(1000, 'x'));
    replies.Write(1000, output);
    output.Took(output.size());
  }
  EXPECT_EQ(replies.bytes(), 1000u);
  EXPECT_EQ(budget.used(), 1000u);
  EXPECT_LT(replies.small().capacity(), size_t{1} << 20);
}

TEST_F(GrpcRepliesTest, RefusesALargeMessageWhenTheServersBoundIsReached) {
  WireOptions options;
  options.max_buffered_bytes = 1 << 20;
  ClientShares few(options);
  BufferBudget small(&few);
  GrpcReplies bounded(&small);
  EXPECT_TRUE(bounded.Add(std::make_shared<const std::string>(900'000, 'x')));
  EXPECT_FALSE(bounded.Add(std::make_shared<const std::string>(900'000, 'x')));
  EXPECT_EQ(bounded.bytes(), 900'000u);
  bounded.Clear();
  EXPECT_EQ(few.buffered_bytes(), 0);
}

TEST(BufferBudgetTest, CountsInStepsWhenMoreThanItsFreePartIsUsed) {
  ClientShares shares{WireOptions()};
  {
    BufferBudget budget(&shares);
    EXPECT_TRUE(budget.Take(BufferBudget::kFree));
    EXPECT_EQ(shares.buffered_bytes(), 0);
    EXPECT_TRUE(budget.Take(1));
    EXPECT_EQ(shares.buffered_bytes(), static_cast<int64_t>(BufferBudget::kStep));
    budget.Give(1);
    EXPECT_EQ(shares.buffered_bytes(), 0);
    EXPECT_TRUE(budget.Take(10 * BufferBudget::kStep));
  }
  EXPECT_EQ(shares.buffered_bytes(), 0);
}

}  // namespace
}  // namespace falaj::wire

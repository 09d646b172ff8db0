#include "observe/trace_parent.h"

#include <gtest/gtest.h>

#include <string>

namespace falaj {
namespace {

const std::string kGood = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(TraceParentTest, IsRead_WhenWellFormed) {
  const auto parent = ParseTraceParent(kGood);
  ASSERT_TRUE(parent);
  EXPECT_EQ(parent->trace_id[0], 0x0a);
  EXPECT_EQ(parent->trace_id[15], 0x9c);
  EXPECT_EQ(parent->parent_id[0], 0xb7);
  EXPECT_EQ(parent->parent_id[7], 0x31);
  EXPECT_TRUE(parent->sampled);
  EXPECT_FALSE(ParseTraceParent(kGood.substr(0, 53) + "00")->sampled);
  EXPECT_FALSE(ParseTraceParent(kGood.substr(0, 53) + "fe")->sampled);
  EXPECT_TRUE(ParseTraceParent(kGood.substr(0, 53) + "ff")->sampled);
}

TEST(TraceParentTest, IsReadAsFarAsKnown_WhenOfALaterVersion) {
  EXPECT_TRUE(ParseTraceParent("01" + kGood.substr(2)));
  EXPECT_TRUE(ParseTraceParent("fe" + kGood.substr(2) + "-more,of.it"));
  EXPECT_FALSE(ParseTraceParent("fe" + kGood.substr(2) + ".more"));
  EXPECT_FALSE(ParseTraceParent("ff" + kGood.substr(2)));
}

TEST(TraceParentTest, IsPassedOver_WhenAnyByteIsNoDigit) {
  for (size_t i = 0; i < kGood.size(); ++i) {
    for (const char wrong : {'g', 'A', ' ', '\0', '\xff'}) {
      std::string text = kGood;
      text[i] = wrong;
      EXPECT_FALSE(ParseTraceParent(text)) << text;
    }
    EXPECT_FALSE(ParseTraceParent(kGood.substr(0, i)));
  }
  EXPECT_FALSE(ParseTraceParent(kGood + "-"));
  EXPECT_FALSE(ParseTraceParent(kGood + "," + kGood));
}

TEST(TraceParentTest, IsPassedOver_WhenAnIdIsZero) {
  EXPECT_FALSE(ParseTraceParent("00-" + std::string(32, '0') + "-b7ad6b7169203331-01"));
  EXPECT_FALSE(ParseTraceParent("00-0af7651916cd43dd8448eb211c80319c-" + std::string(16, '0') + "-01"));
}

TEST(TraceStateTest, IsWellFormed_WhenItsMembersAre) {
  for (const char* good : {"a=b", "a=b,c=d", " a=b ,\tc=d", "a=b,,c=d", "tenant@system=x", "0a=!~ z"}) {
    EXPECT_TRUE(IsTraceState(good)) << good;
  }
  for (const char* bad : {"", ",", " ", "a", "=b", "A=b", "_a=b", "a=b=c", "a=\x01", "a b=c", "a/*_-=,b=c"}) {
    EXPECT_FALSE(IsTraceState(bad)) << bad;
  }
  std::string many;
  for (int i = 0; i < 32; ++i) many += "k" + std::to_string(i) + "=v,";
  EXPECT_TRUE(IsTraceState(many));
  EXPECT_FALSE(IsTraceState(many + "k=v"));
  EXPECT_TRUE(IsTraceState("a=" + std::string(256, 'x')));
  EXPECT_FALSE(IsTraceState("a=" + std::string(257, 'x')));
  EXPECT_FALSE(IsTraceState(many + std::string(512, ' ')));
}

}  // namespace
}  // namespace falaj

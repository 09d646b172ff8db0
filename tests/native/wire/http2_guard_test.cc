#include "wire/http2_guard.h"

#include <gtest/gtest.h>

namespace falaj::wire {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using Verdict = Http2Guard::Verdict;

class Http2GuardTest : public testing::Test {
 protected:
  Http2GuardTest() { guard.OnSettings(); }
  Verdict Tick(bool has_streams = true) { return guard.Tick(now, has_streams, std::nullopt); }

  GrpcLimits limits;
  TimePoint now{1h};
  Http2Guard guard{limits, now};
};

TEST_F(Http2GuardTest, CountsAnewWhenASecondHasPassed) {
  for (uint32_t i = 0; i < limits.max_resets_per_second; ++i) ASSERT_TRUE(guard.OnReset(now));
  EXPECT_FALSE(guard.OnReset(now + 999ms));
  EXPECT_TRUE(guard.OnReset(now + 1s));
  for (uint32_t i = 0; i < limits.max_control_frames_per_second; ++i) {
    ASSERT_TRUE(guard.OnControlFrame(now + 1s));
  }
  EXPECT_FALSE(guard.OnControlFrame(now + 1s));
}

TEST_F(Http2GuardTest, IsPatientWithTwoEarlyPings) {
  EXPECT_TRUE(guard.OnPing(now));
  EXPECT_TRUE(guard.OnPing(now + 1s));
  EXPECT_TRUE(guard.OnPing(now + 2s));
  EXPECT_FALSE(guard.OnPing(now + 3s));
}

TEST_F(Http2GuardTest, ForgetsPingsWhenAnswersWereSent) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(guard.OnPing(now));
  guard.OnAnswerSent();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(guard.OnPing(now));
}

TEST_F(Http2GuardTest, ClosesWhenSettingsNeverCome) {
  Http2Guard silent(limits, now);
  silent.OnReceived(now + 9s);
  EXPECT_EQ(silent.Tick(now + 9s, false, std::nullopt), Verdict::kFine);
  EXPECT_EQ(silent.Tick(now + 10s, false, std::nullopt), Verdict::kClose);
  EXPECT_EQ(silent.why(), Refusal::kHeaderTimeout);
}

TEST_F(Http2GuardTest, ClosesWhenNothingIsWrittenForLong) {
  EXPECT_EQ(guard.Tick(now + 30s, true, now + 1s), Verdict::kFine);
  EXPECT_EQ(guard.Tick(now + 31s, true, now + 1s), Verdict::kClose);
  EXPECT_EQ(guard.why(), Refusal::kWriteTimeout);
}

TEST_F(Http2GuardTest, IsIdleOnceWhenThereWereNoStreamsForLong) {
  now += 300s;
  EXPECT_EQ(Tick(), Verdict::kFine);  // has streams
  now += 299s;
  EXPECT_EQ(Tick(false), Verdict::kFine);
  guard.OnStreamClosed(now);  // one came and went between two ticks
  now += 299s;
  EXPECT_EQ(Tick(false), Verdict::kFine);
  now += 1s;
  EXPECT_EQ(Tick(false), Verdict::kIdle);
  EXPECT_EQ(Tick(false), Verdict::kFine);
}

TEST_F(Http2GuardTest, PingsWhenTheClientIsSilentAndClosesWhenItStaysSo) {
  now += 7199s;
  EXPECT_EQ(Tick(), Verdict::kFine);
  now += 1s;
  EXPECT_EQ(Tick(), Verdict::kPing);
  guard.OnPinged(now);
  now += 19s;
  EXPECT_EQ(Tick(), Verdict::kFine);
  guard.OnReceived(now);
  now += 1s;
  EXPECT_EQ(Tick(), Verdict::kFine);
  now += 7200s;
  EXPECT_EQ(Tick(), Verdict::kPing);
  guard.OnPinged(now);
  now += 20s;
  EXPECT_EQ(Tick(), Verdict::kClose);
}

}  // namespace
}  // namespace falaj::wire

#include "load/error_counts.h"

#include <gtest/gtest.h>

namespace falaj::load {
namespace {

TEST(ErrorCounts, KeepsTheFirstText_WhenAKindComesAgain) {
  ErrorCounts errors;
  errors.Add({Failure::kHttpStatus, 503}, "the status of an answer is 503", "{\"error\":\"full\"}");
  errors.Add({Failure::kHttpStatus, 503}, "the status of an answer is 503", "other", 4);
  errors.Add({Failure::kTimeout}, "too late");
  ASSERT_EQ(errors.rows().size(), 2U);
  EXPECT_EQ(errors.total(), 6U);
  const auto& row = errors.rows().at({Failure::kHttpStatus, 503});
  EXPECT_EQ(row.count, 5U);
  EXPECT_EQ(row.text, "the status of an answer is 503: {\"error\":\"full\"}");
  EXPECT_EQ(NameOf({Failure::kHttpStatus, 503}), "http 503");
  EXPECT_EQ(NameOf({Failure::kTimeout}), "timeout");
}

TEST(ErrorCounts, IsBounded_WhenAServerMakesUpStatuses) {
  ErrorCounts errors;
  for (int status = 100; status < 1000; ++status)
    errors.Add({Failure::kHttpStatus, status}, std::string(5000, 'x'));
  EXPECT_EQ(errors.total(), 900U);
  EXPECT_LE(errors.rows().size(), 65U);
  for (const auto& [kind, row] : errors.rows()) EXPECT_LE(row.text.size(), 600U);
}

TEST(ErrorCounts, ShowsNoControlCharacters_WhenAServerSendsThem) {
  ErrorCounts errors;
  errors.Add({Failure::kMalformed}, "a\x1b[31mb\nc\xff");
  EXPECT_EQ(errors.rows().begin()->second.text, "a?[31mb c?");
}

TEST(ErrorCounts, AddsUp_WhenMerged) {
  ErrorCounts one, other;
  one.Add({Failure::kClosed}, "first", {}, 2);
  other.Add({Failure::kClosed}, "second", {}, 3);
  other.Add({Failure::kGrpcStatus, -1}, "third");
  one.Merge(other);
  EXPECT_EQ(one.total(), 6U);
  EXPECT_EQ(one.rows().at({Failure::kClosed}).text, "first");
  EXPECT_EQ(NameOf({Failure::kGrpcStatus, -1}), "grpc unknown");
}

}  // namespace
}  // namespace falaj::load

#include "load/place.h"

#include <gtest/gtest.h>

#include <string>

#include "load/request_source.h"
#include "load/target.h"

namespace falaj::load {
namespace {

using What = Place::What;

std::string Written(const Place& place, const Mark& mark, size_t slot = 0) {
  std::string body(place.at + place.width() + 1, '#');
  Write(place, mark, slot, body.data());
  EXPECT_EQ(body.substr(0, place.at), std::string(place.at, '#'));
  EXPECT_EQ(body.back(), '#');
  return body.substr(place.at, place.width());
}

uint64_t ReadVarint(const std::string& bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    EXPECT_EQ(byte >= 0x80, i + 1 < bytes.size());
    value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
  }
  return value;
}

TEST(Place, HasTheNumber_WhenItIsWritten) {
  for (const uint64_t id : {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{4294967295},
                            uint64_t{1} << 63, UINT64_MAX}) {
    const std::string text = Written({.what = What::kSequence, .as_text = true, .at = 3}, {.sequence = id});
    EXPECT_EQ(text.size(), 20U);
    EXPECT_EQ(text.substr(text.find_first_not_of(' ')), std::to_string(id));
    EXPECT_EQ(ReadVarint(Written({.what = What::kSequence, .at = 3}, {.sequence = id})), id);
  }
}

TEST(Place, HasTheFlag_WhenItIsWritten) {
  const Mark first{.starts = true}, last{.ends = true};
  EXPECT_EQ(Written({.what = What::kStart, .as_text = true}, first), " true");
  EXPECT_EQ(Written({.what = What::kStart, .as_text = true}, last), "false");
  EXPECT_EQ(Written({.what = What::kEnd, .as_text = true}, last), " true");
  EXPECT_EQ(Written({.what = What::kEnd}, last), "\1");
  EXPECT_EQ(Written({.what = What::kEnd}, first), std::string(1, '\0'));
}

TEST(Place, IsTheSlotsOwn_WhenItTellsOfOne) {
  const Place place{.what = What::kSlot, .as_text = true, .base = 64, .each = 1000};
  EXPECT_EQ(Written(place, {}, 0), "                  64");
  EXPECT_EQ(Written(place, {}, 7), "                7064");
}

std::shared_ptr<const Target> TargetOf(std::vector<Payload> payloads, std::string& why) {
  TargetOptions options;
  options.host = "127.0.0.1";
  options.port = 1;
  options.path = "/";
  options.payloads = std::move(payloads);
  auto made = Target::Make(std::move(options));
  if (!made.ok()) why = made.status().message();
  return made.ok() ? *made : nullptr;
}

TEST(RequestSource, WritesACopy_WhenARequestHasPlaces) {
  std::string why;
  const Place place{.what = What::kEnd, .as_text = true, .at = 1};
  const auto target = TargetOf({{{}, "[false]", {place}}, {{}, "plain"}}, why);
  ASSERT_NE(target, nullptr) << why;
  RequestSource source(target, 0);
  OwnRequest one, other;
  EXPECT_TRUE(source.Next({.ends = true}, 0, one).ends_with("\r\n\r\n[ true]"));
  EXPECT_EQ(&source.Next({}, 0, other), &target->requests()[1].bytes);  // which is nobody's own
  EXPECT_TRUE(source.Next({}, 0, other).ends_with("\r\n\r\n[false]"));
  EXPECT_TRUE(one.bytes.ends_with("[ true]"));
}

TEST(Target, IsRefused_WhenAPlaceIsNotInTheBody) {
  std::string why;
  EXPECT_NE(TargetOf({{{}, "12345", {{.what = What::kStart, .as_text = true}}}}, why), nullptr);
  EXPECT_EQ(TargetOf({{{}, "12345", {{.what = What::kStart, .as_text = true, .at = 1}}}}, why), nullptr);
  EXPECT_EQ(why, "a place at 1 is not in the request's body");
  EXPECT_EQ(TargetOf({{{}, "", {{.what = What::kEnd}}}}, why), nullptr);
}

}  // namespace
}  // namespace falaj::load

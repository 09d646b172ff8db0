#include "wire/http2_field_rules.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace falaj::wire::test {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

const Fields kHead{
    {":method", "POST"}, {":scheme", "http"}, {":path", "/a/b"}, {":authority", "h"}, {"te", "trailers"}};

bool IsGood(const Fields& fields) {
  Http2FieldRules rules;
  for (const auto& [name, value] : fields) {
    if (!rules.Add(name, value)) return false;
  }
  return rules.EndHead();
}

Fields Without(std::string_view name) {
  Fields fields = kHead;
  std::erase_if(fields, [&](const auto& field) { return field.first == name; });
  return fields;
}

Fields With(std::string name, std::string value) {
  Fields fields = kHead;
  fields.emplace_back(std::move(name), std::move(value));
  return fields;
}

Fields Before(std::string name, std::string value) {
  Fields fields = kHead;
  fields.insert(fields.begin(), {std::move(name), std::move(value)});
  return fields;
}

TEST(Http2FieldRules, TakeARequest) {
  EXPECT_TRUE(IsGood(kHead));
  EXPECT_TRUE(IsGood(Without(":authority")));
  EXPECT_TRUE(IsGood(Without("te")));
  EXPECT_TRUE(IsGood(With("x-mine_1.0~", "any \t thing, \xc3\xa9")));
  EXPECT_TRUE(IsGood(With("empty", "")));
  EXPECT_TRUE(IsGood(With("content-length", "0")));
  EXPECT_TRUE(IsGood({{":method", "CONNECT"}, {":authority", "h:1"}}));
}

TEST(Http2FieldRules, WantEachPseudoFieldOnceAndFirst) {
  for (const char* name : {":method", ":scheme", ":path"}) EXPECT_FALSE(IsGood(Without(name))) << name;
  for (const auto& [name, value] : kHead) {
    if (name[0] != ':') continue;
    EXPECT_FALSE(IsGood(Before(name, value))) << name;
  }
  EXPECT_FALSE(IsGood(Before("a", "b")));
  for (const char* name : {":status", ":protocol", ":", ":Path"})
    EXPECT_FALSE(IsGood(Before(name, "x"))) << name;
}

TEST(Http2FieldRules, WantPseudoFieldsToSaySomething) {
  const auto with = [](const std::string& name, const std::string& value) {
    Fields fields = kHead;
    for (auto& field : fields) {
      if (field.first == name) field.second = value;
    }
    return IsGood(fields);
  };
  for (const char* name : {":method", ":scheme", ":path"}) EXPECT_FALSE(with(name, "")) << name;
  EXPECT_FALSE(with(":path", "a/b"));
  EXPECT_TRUE(with(":path", "*"));
  EXPECT_FALSE(with(":path", "/a\r\nb"));
  EXPECT_FALSE(with(":method", "PO ST"));
  EXPECT_FALSE(with(":authority", "h\n"));
  EXPECT_FALSE(IsGood({{":method", "CONNECT"}, {":scheme", "http"}, {":authority", "h"}}));
  EXPECT_FALSE(IsGood({{":method", "CONNECT"}}));
}

TEST(Http2FieldRules, RefuseCharactersThatNoFieldHas) {
  for (int c = 0; c < 256; ++c) {
    const char byte = static_cast<char>(c);
    const bool of_names =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
        (c != 0 && std::string_view("!#$%&'*+-.^_`|~").find(byte) != std::string_view::npos);
    const bool of_values = c == '\t' || (c >= 0x20 && c != 0x7f);
    EXPECT_EQ(IsGood(With(std::string("a") + byte + "b", "1")), of_names) << c;
    EXPECT_EQ(Http2FieldRules::AddTrailer(std::string("a") + byte + "b", "1"), of_names) << c;
    EXPECT_EQ(IsGood(With("a", std::string("1") + byte + "2")), of_values) << c;
    EXPECT_EQ(Http2FieldRules::AddTrailer("a", std::string("1") + byte + "2"), of_values) << c;
  }
  for (const char* value : {" a", "a ", "\ta", "a\t", " "}) EXPECT_FALSE(IsGood(With("a", value))) << value;
  EXPECT_FALSE(IsGood(With("", "a")));
}

TEST(Http2FieldRules, RefuseFieldsOfConnections) {
  for (const char* name : {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}) {
    EXPECT_FALSE(IsGood(With(name, "x"))) << name;
    EXPECT_FALSE(Http2FieldRules::AddTrailer(name, "x")) << name;
  }
  EXPECT_FALSE(IsGood(With("te", "gzip")));
  EXPECT_FALSE(Http2FieldRules::AddTrailer(":path", "/"));
}

TEST(Http2FieldRules, WantAsMuchAsWasSaid) {
  Http2FieldRules rules;
  ASSERT_TRUE(rules.Add("content-length", "10"));
  EXPECT_FALSE(rules.EndBody());
  EXPECT_TRUE(rules.AddBody(4));
  EXPECT_TRUE(rules.AddBody(6));
  EXPECT_TRUE(rules.EndBody());
  EXPECT_FALSE(rules.AddBody(1));

  Http2FieldRules free;
  EXPECT_TRUE(free.AddBody(1'000'000));
  EXPECT_TRUE(free.EndBody());

  for (const char* length : {"", "-1", "+1", "1x", "0x1", "1 ", "99999999999999999999"}) {
    EXPECT_FALSE(IsGood(With("content-length", length))) << length;
  }
  Fields twice = With("content-length", "1");
  twice.emplace_back("content-length", "1");
  EXPECT_FALSE(IsGood(twice));
}

}  // namespace
}  // namespace falaj::wire::test

#include "join/redis_protocol.h"

#include <gtest/gtest.h>

#include <random>

namespace falaj {
namespace {

using Kind = RedisReplies::Kind;

// All of it, or one byte at a time.
Status TakeAll(RedisReader& reader, std::string_view bytes, bool by_byte) {
  const std::span<const char> all(bytes);
  if (!by_byte) return reader.Take(all);
  for (size_t i = 0; i < all.size(); ++i) FALAJ_RETURN_IF_ERROR(reader.Take(all.subspan(i, 1)));
  return Status::Ok();
}

TEST(RedisCommandsTest, CommandsAreWrittenAsTheProtocolSays) {
  RedisCommands commands;
  commands.Begin(2).Add("GET").Add(std::string_view("\r\n\0", 3));
  commands.Begin(1).Add("");
  EXPECT_EQ(commands.bytes(), std::string_view("*2\r\n$3\r\nGET\r\n$3\r\n\r\n\0\r\n*1\r\n$0\r\n\r\n", 32));
  EXPECT_EQ(commands.count(), 2U);
  commands.Clear();
  EXPECT_EQ(commands.bytes(), "");
  EXPECT_EQ(commands.count(), 0U);
}

TEST(RedisReaderTest, RepliesAreFlatHoweverTheyCome) {
  const std::string_view said = "*3\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n:-7\r\n+OK\r\n-ERR no\r\n";
  for (const bool by_byte : {false, true}) {
    RedisReader reader;
    for (int again = 0; again < 3; ++again) {
      reader.Expect(2);
      ASSERT_TRUE(TakeAll(reader, said, by_byte).ok());
      ASSERT_TRUE(reader.done());
      EXPECT_TRUE(reader.clean());
      const RedisReplies& replies = reader.replies();
      const auto items = replies.items();
      const Kind kinds[] = {Kind::kArray,   Kind::kText,   Kind::kNil,  Kind::kArray,
                            Kind::kInteger, Kind::kStatus, Kind::kError};
      ASSERT_EQ(items.size(), std::size(kinds));
      for (size_t i = 0; i < items.size(); ++i) EXPECT_EQ(items[i].kind, kinds[i]) << i;
      EXPECT_EQ(items[0].integer, 3);
      EXPECT_EQ(replies.text(items[1]), "a\r\n");
      EXPECT_EQ(items[3].integer, 2);
      EXPECT_EQ(replies.text(items[3]), "");
      EXPECT_EQ(items[4].integer, -7);
      EXPECT_EQ(replies.text(items[5]), "OK");
      EXPECT_EQ(replies.text(items[6]), "ERR no");
    }
  }
}

TEST(RedisReaderTest, WhatComesBehindIsNoticed) {
  RedisReader reader;
  reader.Expect(1);
  ASSERT_TRUE(reader.Take(std::string_view("$1\r\nx\r\n+")).ok());
  EXPECT_TRUE(reader.done());
  EXPECT_FALSE(reader.clean());
}

TEST(RedisReaderTest, WhatIsAnnouncedTakesNoMemory) {
  for (const std::string_view said : {"*2147483647\r\n", "$536870912\r\nx"}) {
    RedisReader reader;
    reader.Expect(1);
    EXPECT_TRUE(reader.Take(said).ok());
    EXPECT_FALSE(reader.done());
  }
}

TEST(RedisReaderTest, MoreThanIsReadAtOnceIsRefused) {
  RedisReader many;
  many.Expect(1);
  std::string nils = "*2147483647\r\n";
  for (size_t i = 0; i < RedisReader::kMostItems; ++i) nils += "$-1\r\n";
  EXPECT_EQ(many.Take(nils).message(), "online store: the server's answer: has more than 2097152 elements");

  RedisReader large;
  large.Expect(1);
  const std::string piece(size_t{32} << 20, 'x');
  ASSERT_TRUE(large.Take(std::string_view("$500000000\r\n")).ok());
  Status status;
  for (size_t came = 0; status.ok() && came <= RedisReader::kMostBytes; came += piece.size()) {
    status = large.Take(piece);
  }
  EXPECT_EQ(status.message(), "online store: the server's answer: takes more than 268435456 bytes");
}

TEST(RedisReaderTest, AnyBytesAreTakenOrRefused) {
  std::mt19937 random(7);
  constexpr std::string_view kLetters = "*$+-:0123456789\r\n\r\n\r\nax";
  for (int i = 0; i < 3000; ++i) {
    std::string said(random() % 40, 0);
    for (char& letter : said) letter = kLetters[random() % kLetters.size()];
    RedisReader whole, parts;
    whole.Expect(2);
    parts.Expect(2);
    EXPECT_EQ(whole.Take(said).ok(), TakeAll(parts, said, true).ok()) << said;
    EXPECT_EQ(whole.replies().items().size(), parts.replies().items().size()) << said;
  }
}

}  // namespace
}  // namespace falaj

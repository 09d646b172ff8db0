#include "wire/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace falaj::wire {
namespace {

TEST(Utf8, TakesWhatIsUtf8AtEveryLength) {
  for (size_t length = 0; length < 40; ++length) {
    const std::string ascii(length, 'a');
    EXPECT_TRUE(IsUtf8(ascii)) << length;
    for (const char* character : {"ü", "€", "\U0001F41A", "\U0010FFFF", "\uFFFF"}) {
      for (size_t at = 0; at <= length; ++at) {
        EXPECT_TRUE(IsUtf8(std::string(ascii).insert(at, character))) << length << " " << at;
      }
    }
  }
}

TEST(Utf8, RefusesOneWrongByteWhereverItIs) {
  const std::vector<std::string> wrong = {"\x80",
                                          "\xff",
                                          "\xc3",
                                          "\xc0\x80",      // NUL in two bytes
                                          "\xed\xa0\x80",  // a surrogate
                                          "\xf4\x90\x80\x80",
                                          "\xe2\x82"};  // past U+10FFFF; cut short
  for (size_t length = 0; length < 40; ++length) {
    for (const std::string& bytes : wrong) {
      for (size_t at = 0; at <= length; ++at) {
        const std::string text = std::string(length, 'a').insert(at, bytes);
        EXPECT_FALSE(IsUtf8(text)) << length << " " << at;
      }
    }
  }
}

}  // namespace
}  // namespace falaj::wire

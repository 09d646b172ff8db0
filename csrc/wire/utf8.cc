#include "wire/utf8.h"

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <cstdint>
#include <cstring>

namespace falaj::wire {
namespace {

constexpr uint64_t kHighBits = 0x8080808080808080;

// `Word` at once; overlapping the last two rather than going byte by byte.
template <typename Word>
bool IsAscii(const char* text, size_t size) {
  const auto high = [&](size_t at) {
    Word word = 0;
    std::memcpy(&word, text + at, sizeof word);
    return word & static_cast<Word>(kHighBits);
  };
  Word bits = high(size - sizeof(Word));
  for (size_t at = 0; at + sizeof(Word) < size; at += sizeof(Word)) bits |= high(at);
  return bits == 0;
}

bool IsAscii(std::string_view text) {
  const size_t size = text.size();
  if (size >= sizeof(uint64_t)) return IsAscii<uint64_t>(text.data(), size);
  if (size >= sizeof(uint32_t)) return IsAscii<uint32_t>(text.data(), size);
  for (const char c : text) {
    if ((c & 0x80) != 0) return false;
  }
  return true;
}

}  // namespace

bool IsUtf8(std::string_view text) {
  return IsAscii(text) || simdjson::validate_utf8(text.data(), text.size());
}

}  // namespace falaj::wire

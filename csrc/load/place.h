// Where a request is another each time that it is asked. A place is always as wide, so that it is written
// over where it stands, and no length of the request changes.
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace falaj::load {

// What a request is told when it is asked.
struct Mark {
  uint64_t sequence = 0;  // the id of its sequence
  bool starts = false;
  bool ends = false;
  size_t index = 0;  // of its sequence, among those that are kept under way
};

// A number is 20 characters of JSON, with spaces before its digits, or a varint of 10 bytes, the most that
// decoders of protobuf take, of which the last ones may be zeros. A flag is 5 characters, or a byte.
struct Place {
  enum class What : uint8_t { kSequence, kStart, kEnd, kSlot };
  What what = What::kSequence;
  bool as_text = false;
  size_t at = 0;      // bytes before it in the body
  uint64_t base = 0;  // kSlot: the number is base + each * slot; slots are requests that may be under way
  uint64_t each = 0;

  bool is_flag() const { return what == What::kStart || what == What::kEnd; }
  size_t width() const { return is_flag() ? (as_text ? 5 : 1) : (as_text ? 20 : 10); }
};

inline void WriteNumber(bool as_text, uint64_t number, char* to) {
  if (as_text) {
    std::array<char, 20> digits{};
    const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    const auto count = static_cast<size_t>(end - digits.data());
    std::memset(to, ' ', digits.size() - count);
    std::memcpy(to + digits.size() - count, digits.data(), count);
    return;
  }
  for (int i = 0; i < 9; ++i, number >>= 7) to[i] = static_cast<char>(0x80 | (number & 0x7F));
  to[9] = static_cast<char>(number);
}

inline void WriteFlag(bool as_text, bool flag, char* to) {
  if (as_text) {
    std::memcpy(to, flag ? " true" : "false", 5);
  } else {
    *to = flag ? '\1' : '\0';
  }
}

// `body`: where the request's body begins.
inline void Write(const Place& place, const Mark& mark, size_t slot, char* body) {
  char* const to = body + place.at;
  switch (place.what) {
    case Place::What::kSequence:
      return WriteNumber(place.as_text, mark.sequence, to);
    case Place::What::kStart:
      return WriteFlag(place.as_text, mark.starts, to);
    case Place::What::kEnd:
      return WriteFlag(place.as_text, mark.ends, to);
    case Place::What::kSlot:
      return WriteNumber(place.as_text, place.base + place.each * slot, to);
  }
}

}  // namespace falaj::load

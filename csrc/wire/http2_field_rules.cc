#include "wire/http2_field_rules.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace falaj::wire {
namespace {

enum Pseudo : uint8_t { kMethod = 1, kScheme = 2, kPath = 4, kAuthority = 8 };

constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";

// What names are made of: RFC 9110's token without upper-case letters.
constexpr std::array<bool, 256> kOfNames = [] {
  std::array<bool, 256> allowed{};
  for (int c = 'a'; c <= 'z'; ++c) allowed[static_cast<size_t>(c)] = true;
  for (int c = '0'; c <= '9'; ++c) allowed[static_cast<size_t>(c)] = true;
  for (const char c : kMarks) allowed[static_cast<unsigned char>(c)] = true;
  return allowed;
}();

// What values are made of: all but control characters, of which a tab is allowed.
constexpr std::array<bool, 256> kOfValues = [] {
  std::array<bool, 256> allowed{};
  for (size_t c = 0x20; c < allowed.size(); ++c) allowed[c] = c != 0x7f;
  allowed['\t'] = true;
  return allowed;
}();

bool IsOf(std::string_view text, const std::array<bool, 256>& allowed) {
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return allowed[static_cast<unsigned char>(c)]; });
}

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

bool IsName(std::string_view name) { return !name.empty() && IsOf(name, kOfNames); }
bool IsValue(std::string_view value) {
  return value.empty() || (!IsBlank(value.front()) && !IsBlank(value.back()) && IsOf(value, kOfValues));
}

// Has to do with one hop, which HTTP/2 itself takes care of.
bool IsOfConnection(std::string_view name) {
  switch (name.size()) {
    case 7:
      return name == "upgrade";
    case 10:
      return name == "connection" || name == "keep-alive";
    case 16:
      return name == "proxy-connection";
    case 17:
      return name == "transfer-encoding";
    default:
      return false;
  }
}

}  // namespace

bool Http2FieldRules::Add(std::string_view name, std::string_view value) {
  if (!name.empty() && name[0] == ':') return AddPseudo(name, value);
  regular_ = true;
  if (!IsName(name) || !IsValue(value) || IsOfConnection(name)) return false;
  if (name == "te") return value == "trailers";
  if (name == "content-length") return AddLength(value);
  return true;
}

bool Http2FieldRules::AddPseudo(std::string_view name, std::string_view value) {
  uint8_t which = 0;
  if (name == ":method") {
    which = kMethod;
    connects_ = value == "CONNECT";
    if (!std::all_of(value.begin(), value.end(), [](char c) { return c > ' ' && c < 0x7f; })) return false;
  } else if (name == ":scheme") {
    which = kScheme;
  } else if (name == ":path") {
    which = kPath;
    if (!value.starts_with('/') && value != "*") return false;
  } else if (name == ":authority") {
    which = kAuthority;
  }
  if (which == 0 || regular_ || (seen_ & which) != 0 || !IsValue(value)) return false;
  seen_ |= which;
  return !value.empty() || which == kAuthority;
}

bool Http2FieldRules::AddLength(std::string_view digits) {
  const char* const end = digits.data() + digits.size();
  int64_t length = -1;
  const auto [stopped, error] = std::from_chars(digits.data(), end, length);
  if (error != std::errc() || stopped != end || length < 0 || content_length_ >= 0) return false;
  content_length_ = length;
  return true;
}

bool Http2FieldRules::EndHead() const {
  const uint8_t needed = connects_ ? kMethod | kAuthority : kMethod | kScheme | kPath;
  const uint8_t barred = connects_ ? kScheme | kPath : 0;
  return (seen_ & needed) == needed && (seen_ & barred) == 0;
}

bool Http2FieldRules::AddTrailer(std::string_view name, std::string_view value) {
  return IsName(name) && IsValue(value) && !IsOfConnection(name);
}

bool Http2FieldRules::AddBody(size_t bytes) {
  body_ += static_cast<int64_t>(bytes);
  return content_length_ < 0 || body_ <= content_length_;
}

}  // namespace falaj::wire

#include "observe/trace_parent.h"

#include <algorithm>
#include <span>

namespace falaj {
namespace {

constexpr size_t kVersion0Bytes = 55;  // 00-{32}-{16}-{2}
constexpr size_t kMostMembers = 32;
constexpr size_t kMostKey = 256;

// -1: none. Upper-case digits are malformed.
int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// REQUIRES: text has two digits for each byte
bool ReadHex(std::string_view text, std::span<uint8_t> bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int high = HexDigit(text[2 * i]);
    const int low = HexDigit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return true;
}

bool AllZero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

bool IsKeyChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/' ||
         c == '@';
}

bool IsMember(std::string_view member) {
  const size_t equals = member.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals > kMostKey) return false;
  const std::string_view key = member.substr(0, equals);
  const std::string_view value = member.substr(equals + 1);
  const bool begins_well = (key[0] >= 'a' && key[0] <= 'z') || (key[0] >= '0' && key[0] <= '9');
  return begins_well && std::all_of(key.begin(), key.end(), IsKeyChar) && !value.empty() &&
         value.size() <= 256 &&
         std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c <= '~' && c != '='; });
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

}  // namespace

std::optional<TraceParent> ParseTraceParent(std::string_view text) {
  if (text.size() < kVersion0Bytes || text[2] != '-' || text[35] != '-' || text[52] != '-') {
    return std::nullopt;
  }
  TraceParent parent;
  std::array<uint8_t, 1> version{};
  std::array<uint8_t, 1> flags{};
  if (!ReadHex(text.substr(0, 2), version) || !ReadHex(text.substr(3, 32), parent.trace_id) ||
      !ReadHex(text.substr(36, 16), parent.parent_id) || !ReadHex(text.substr(53, 2), flags)) {
    return std::nullopt;
  }
  if (version[0] == 0xff || AllZero(parent.trace_id) || AllZero(parent.parent_id)) return std::nullopt;
  if (text.size() > kVersion0Bytes && (version[0] == 0 || text[kVersion0Bytes] != '-')) return std::nullopt;
  parent.sampled = (flags[0] & 1) != 0;
  return parent;
}

bool IsTraceState(std::string_view text) {
  if (text.empty() || text.size() > kMostTraceState) return false;
  size_t members = 0;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const std::string_view member = Trimmed(text.substr(begin, comma - begin));
    if (!member.empty() && (!IsMember(member) || ++members > kMostMembers)) return false;
    begin = comma + 1;
  }
  return members > 0;
}

}  // namespace falaj

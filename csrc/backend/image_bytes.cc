#include "backend/image_bytes.h"

#include <string>

namespace falaj {
namespace {

constexpr uint8_t kMark = 0xFF;  // begins every marker, and may be repeated before its code
constexpr uint8_t kTem = 0x01;
constexpr uint8_t kFirstRestart = 0xD0;
constexpr uint8_t kStart = 0xD8;
constexpr uint8_t kEnd = 0xD9;
constexpr uint8_t kScan = 0xDA;

bool HasLength(uint8_t code) { return code != kTem && (code < kFirstRestart || code > kStart); }

// Place behind the next marker's code, which is put into `code`; the end where there is none.
size_t NextMarker(std::span<const uint8_t> bytes, size_t at, uint8_t& code) {
  while (at < bytes.size()) {
    if (bytes[at++] != kMark) continue;
    while (at < bytes.size() && bytes[at] == kMark) ++at;
    if (at == bytes.size()) break;
    code = bytes[at++];
    if (code != 0) return at;  // a zero is no marker: the 0xFF was data
  }
  code = 0;
  return bytes.size();
}

bool HasEnd(std::span<const uint8_t> bytes, size_t at) {
  for (; at + 1 < bytes.size(); ++at) {
    if (bytes[at] == kMark && bytes[at + 1] == kEnd) return true;
  }
  return false;
}

Status CutShort(size_t size, const char* where) {
  return InvalidInput("a JPEG of " + std::to_string(size) + " bytes is cut short " + where);
}

}  // namespace

Status CheckImageIsWhole(std::span<const uint8_t> bytes) {
  if (bytes.size() < 2 || bytes[0] != kMark || bytes[1] != kStart) return Status::Ok();
  size_t at = 2;
  while (true) {
    uint8_t code = 0;
    at = NextMarker(bytes, at, code);
    if (code == 0) return CutShort(bytes.size(), "before its first scan");
    if (code == kEnd) return InvalidInput("a JPEG ends without a scan, expected an image");
    if (!HasLength(code)) continue;
    if (bytes.size() - at < 2) return CutShort(bytes.size(), "in its head");
    const size_t length = size_t{bytes[at]} << 8 | bytes[at + 1];  // its own two bytes included
    if (length < 2) return InvalidInput("a JPEG has a segment of less than its length's two bytes");
    if (bytes.size() - at < length) return CutShort(bytes.size(), "in its head");
    at += length;
    if (code == kScan) return HasEnd(bytes, at) ? Status::Ok() : CutShort(bytes.size(), "in its pixels");
  }
}

}  // namespace falaj

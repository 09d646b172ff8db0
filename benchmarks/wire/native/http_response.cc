#include "http_response.h"

#include <strings.h>

#include <algorithm>
#include <charconv>

namespace falaj::bench {
namespace {

constexpr size_t kMostHeadBytes = 16 * 1024;
constexpr std::string_view kEnd = "\r\n\r\n";

template <typename T>
bool ParseNumber(std::string_view text, T& value) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc{} && stopped == end;
}

bool StartsWithName(std::string_view line, std::string_view name) {
  return line.size() > name.size() && line[name.size()] == ':' &&
         strncasecmp(line.data(), name.data(), name.size()) == 0;
}

}  // namespace

size_t HttpResponse::Take(std::string_view bytes) {
  const size_t given = bytes.size();
  if (state_ == State::kHead) {
    // The end may lie across two pieces. Most heads come whole and are not copied.
    const size_t held = head_.size();
    if (held > 0) head_.append(bytes);
    const std::string_view seen = held > 0 ? std::string_view(head_) : bytes;
    const size_t end = seen.find(kEnd, held < kEnd.size() ? 0 : held - kEnd.size());
    if (end == std::string_view::npos) {
      if (held == 0) head_.assign(bytes);
      if (head_.size() > kMostHeadBytes) Malformed("the head of an answer does not end");
      return given;
    }
    ParseHead(seen.substr(0, end + 2));
    bytes.remove_prefix(end + kEnd.size() - held);
  }
  if (state_ == State::kBody) {
    const size_t taken = std::min(missing_, bytes.size());
    missing_ -= taken;
    bytes.remove_prefix(taken);
    if (missing_ == 0) state_ = State::kComplete;
  }
  return given - bytes.size();
}

void HttpResponse::Clear() {
  state_ = State::kHead;
  head_.clear();
}

// `head` ends with the line break of its last line.
void HttpResponse::ParseHead(std::string_view head) {
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  if (!head.starts_with(kVersion) || !ParseNumber(head.substr(kVersion.size(), 3), status_)) {
    Malformed("an answer does not begin as HTTP/1.1");
    return;
  }
  bool has_length = false;
  for (size_t begin = head.find('\n') + 1; begin < head.size(); begin = head.find('\n', begin) + 1) {
    const std::string_view line = head.substr(begin, head.find('\r', begin) - begin);
    constexpr std::string_view kLength = "content-length";
    if (!StartsWithName(line, kLength)) continue;
    has_length = ParseNumber(line.substr(kLength.size() + 1), body_bytes_);
  }
  if (!has_length) {
    Malformed("an answer has no Content-Length that is a number");
    return;
  }
  missing_ = body_bytes_;
  state_ = State::kBody;
}

void HttpResponse::Malformed(const char* problem) {
  problem_ = problem;
  state_ = State::kMalformed;
}

}  // namespace falaj::bench

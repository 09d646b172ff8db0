#include "load/http_response.h"

#include <strings.h>

#include <algorithm>
#include <charconv>

namespace falaj::load {
namespace {

constexpr size_t kMostHeadBytes = 16 * 1024;
constexpr size_t kErrorBytes = 512;
constexpr std::string_view kEnd = "\r\n\r\n";
constexpr int kOk = 200;

std::string_view Trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

template <typename T>
bool ParseNumber(std::string_view text, T& value, int base = 10) {
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value, base);
  return error == std::errc{} && stopped == end;
}

bool Equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

size_t HttpResponse::Take(std::string_view bytes) {
  const size_t given = bytes.size();
  while (!bytes.empty()) {
    switch (state_) {
      case State::kHead:
        TakeHead(bytes);
        break;
      case State::kData:
      case State::kChunkData:
        TakeData(bytes);
        break;
      case State::kChunkSize:
      case State::kChunkEnd:
      case State::kTrailers:
        TakeLine(bytes);
        break;
      case State::kComplete:
      case State::kMalformed:
        return given - bytes.size();
    }
  }
  return given;
}

void HttpResponse::Clear() {
  state_ = State::kHead;
  head_.clear();
  body_.clear();
  body_bytes_ = missing_ = trailer_bytes_ = 0;
}

void HttpResponse::TakeHead(std::string_view& bytes) {
  // The end may lie across two pieces. Most heads come whole and are not copied.
  const size_t held = head_.size();
  if (held > 0) head_.append(bytes);
  const std::string_view seen = held > 0 ? std::string_view(head_) : bytes;
  const size_t end = seen.find(kEnd, held < kEnd.size() ? 0 : held - kEnd.size());
  if (end == std::string_view::npos) {
    if (held == 0) head_.assign(bytes);
    bytes = {};
    if (head_.size() > kMostHeadBytes) Malformed("the head of an answer does not end");
    return;
  }
  ParseHead(seen.substr(0, end + 2));
  bytes.remove_prefix(end + kEnd.size() - held);
  head_.clear();
}

void HttpResponse::TakeData(std::string_view& bytes) {
  const std::string_view data = bytes.substr(0, missing_);
  Keep(data);
  missing_ -= data.size();
  bytes.remove_prefix(data.size());
  if (missing_ == 0) state_ = state_ == State::kData ? State::kComplete : State::kChunkEnd;
}

// Lines between chunks.
void HttpResponse::TakeLine(std::string_view& bytes) {
  const size_t end = bytes.find('\n');
  head_.append(bytes.substr(0, end));
  bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
  if (head_.size() > kMostHeadBytes) return Malformed("a line between the chunks of an answer does not end");
  if (end == std::string_view::npos) return;
  if (!head_.ends_with('\r')) return Malformed("a line between the chunks of an answer ends without CR");
  const std::string_view line = std::string_view(head_).substr(0, head_.size() - 1);
  if (state_ == State::kChunkSize) {
    ParseChunkSize(line);
  } else if (state_ == State::kChunkEnd) {
    if (!line.empty()) return Malformed("a chunk of an answer is longer than it says");
    state_ = State::kChunkSize;
  } else if (line.empty()) {
    state_ = State::kComplete;
  } else if ((trailer_bytes_ += line.size()) > kMostHeadBytes) {
    return Malformed("the trailers of an answer do not end");
  }
  head_.clear();
}

void HttpResponse::ParseChunkSize(std::string_view line) {
  const std::string_view digits = Trimmed(line.substr(0, line.find(';')));
  if (!ParseNumber(digits, missing_, 16)) return Malformed("a chunk of an answer has no size");
  if (missing_ > SIZE_MAX - body_bytes_)
    return Malformed("the body of an answer is longer than can be counted");
  body_bytes_ += missing_;
  state_ = missing_ == 0 ? State::kTrailers : State::kChunkData;
}

// `head` ends with the line break of its last line.
void HttpResponse::ParseHead(std::string_view head) {
  constexpr std::string_view kVersion = "HTTP/1.";
  const size_t status_at = kVersion.size() + 2;  // behind the minor version and a space
  if (!head.starts_with(kVersion) || head.size() < status_at + 3 || head[status_at - 1] != ' ' ||
      !ParseNumber(head.substr(status_at, 3), status_) || status_ < 100) {
    return Malformed("an answer does not begin as HTTP/1.1");
  }
  closes_ = head[kVersion.size()] == '0';
  has_length_ = is_chunked_ = bad_field_ = false;
  body_bytes_ = 0;
  for (size_t begin = head.find('\n') + 1; begin < head.size(); begin = head.find('\n', begin) + 1) {
    ParseField(head.substr(begin, head.find('\r', begin) - begin));
  }
  BeginBody();
}

void HttpResponse::ParseField(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = Trimmed(line.substr(colon + 1));
  if (Equal(name, "content-length")) {
    has_length_ = ParseNumber(value, body_bytes_);
    bad_field_ |= !has_length_;
  } else if (Equal(name, "transfer-encoding")) {
    is_chunked_ = Equal(value, "chunked");
    bad_field_ |= !is_chunked_;
  } else if (Equal(name, "connection")) {
    if (Equal(value, "close")) closes_ = true;
    if (Equal(value, "keep-alive")) closes_ = false;
  }
}

void HttpResponse::BeginBody() {
  constexpr int kSwitching = 101, kNoContent = 204, kNotModified = 304;
  if (status_ < kOk && status_ != kSwitching) {
    state_ = State::kHead;  // interim: the answer is still to come
  } else if (status_ == kSwitching) {
    Malformed("an answer leaves HTTP");
  } else if (is_chunked_ && !bad_field_) {
    body_bytes_ = 0;
    state_ = State::kChunkSize;
  } else if (has_length_ && !bad_field_) {
    missing_ = body_bytes_;
    state_ = missing_ == 0 ? State::kComplete : State::kData;
  } else if ((status_ == kNoContent || status_ == kNotModified) && !bad_field_) {
    state_ = State::kComplete;
  } else {
    Malformed("an answer has no Content-Length that is a number, and no chunks");
  }
}

void HttpResponse::Keep(std::string_view data) {
  const size_t most = status_ == kOk ? keep_ : std::max(keep_, kErrorBytes);
  if (body_.size() < most) body_.append(data.substr(0, most - body_.size()));
}

void HttpResponse::Malformed(const char* problem) {
  problem_ = problem;
  state_ = State::kMalformed;
}

}  // namespace falaj::load

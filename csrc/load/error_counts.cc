#include "load/error_counts.h"

namespace falaj::load {
namespace {

constexpr size_t kMostKinds = 64;
constexpr size_t kMostText = 600;
// Where there are too many kinds already.
constexpr ErrorKind kOther{Failure::kMalformed, -1};

std::string Printable(std::string_view text) {
  std::string shown;
  for (const char character : text.substr(0, kMostText)) {
    const bool plain = character >= ' ' && character <= '~';
    shown.push_back(plain ? character : character == '\n' || character == '\t' ? ' ' : '?');
  }
  return shown;
}

}  // namespace

std::string NameOf(ErrorKind kind) {
  const auto with = [&](const char* name) { return std::string(name) + std::to_string(kind.code); };
  switch (kind.failure) {
    case Failure::kConnect:
      return "connect";
    case Failure::kTls:
      return "tls";
    case Failure::kClosed:
      return "closed";
    case Failure::kReset:
      return "reset";
    case Failure::kTimeout:
      return "timeout";
    case Failure::kMalformed:
      return kind == kOther ? "other" : "malformed";
    case Failure::kLength:
      return "length";
    case Failure::kHttpStatus:
      return with("http ");
    case Failure::kGrpcStatus:
      return kind.code < 0 ? "grpc unknown" : with("grpc ");
    case Failure::kStream:
      return with("http2 ");
  }
  return "other";
}

void ErrorCounts::Add(ErrorKind kind, std::string_view text, std::string_view detail, uint64_t times) {
  auto found = rows_.find(kind);
  if (found == rows_.end()) {
    if (rows_.size() >= kMostKinds) kind = kOther;
    found = rows_.try_emplace(kind).first;
    if (found->second.text.empty()) {
      found->second.text = Printable(text);
      if (!detail.empty()) found->second.text += ": " + Printable(detail);
    }
  }
  found->second.count += times;
}

void ErrorCounts::Merge(const ErrorCounts& other) {
  for (const auto& [kind, row] : other.rows_) Add(kind, row.text, {}, row.count);
}

uint64_t ErrorCounts::total() const {
  uint64_t sum = 0;
  for (const auto& [kind, row] : rows_) sum += row.count;
  return sum;
}

}  // namespace falaj::load

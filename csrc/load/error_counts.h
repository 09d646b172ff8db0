// What went wrong with requests, by kind.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace falaj::load {

enum class Failure : uint8_t {
  kConnect,     // no connection was made
  kTls,         // the handshake failed
  kClosed,      // the server closed a connection with a request under way
  kReset,       // the connection broke
  kTimeout,     // no answer within the time
  kMalformed,   // the answer is none of the protocol
  kLength,      // the answer is not as long as the first one, where that was asked for
  kHttpStatus,  // code: the status
  kGrpcStatus,  // code: the status, -1 where it is none of gRPC's
  kStream,      // code: the HTTP/2 error that ended the call
};

struct ErrorKind {
  Failure failure = Failure::kConnect;
  int code = 0;
  auto operator<=>(const ErrorKind&) const = default;
};

// Such as "http 503" or "timeout".
std::string NameOf(ErrorKind kind);

// One thread's. Bounded: what a hostile server can make of it is a few dozen kinds and short texts.
class ErrorCounts {
 public:
  struct Row {
    uint64_t count = 0;
    std::string text;  // of the first of its kind
  };

  // `detail` is what the server said, if anything; bytes that are not printable ASCII are replaced.
  void Add(ErrorKind kind, std::string_view text, std::string_view detail = {}, uint64_t times = 1);
  void Merge(const ErrorCounts& other);
  void Clear() { rows_.clear(); }
  uint64_t total() const;
  const std::map<ErrorKind, Row>& rows() const { return rows_; }

 private:
  std::map<ErrorKind, Row> rows_;
};

}  // namespace falaj::load

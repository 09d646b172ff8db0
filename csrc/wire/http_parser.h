// HTTP/1.1 requests out of bytes, by Boost.Beast's parser, which reads into views rather than into a tree of
// its own. This is the only header that the rest of the wire needs for it: Beast stays in http_parser.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace falaj::wire {

// Views into the bytes that the head was parsed from.
struct HttpHead {
  std::string_view method;
  std::string_view target;
  int minor = 1;                                                      // of the version
  std::vector<std::pair<std::string_view, std::string_view>> fields;  // as sent, in order
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool expects_continue = false;

  // The value of the first field of that name, which is lower-case.
  std::optional<std::string_view> Find(std::string_view name) const;
};

// What a client is told of a request that cannot be read; the connection is closed after it.
struct HttpFault {
  int status = 400;
  std::string message;
};

// One request at a time. Not thread-safe. Never throws.
class HttpParser {
 public:
  HttpParser(size_t max_header_bytes, uint64_t max_body_bytes);
  ~HttpParser();
  HttpParser(const HttpParser&) = delete;
  HttpParser& operator=(const HttpParser&) = delete;

  void Reset();
  // What is kept from head to head. head() is empty then.
  void FreeMemory();

  // Reads the head from `bytes`, everything that came since Reset; returns how many of them it is, 0 where
  // more are needed. Once it was read, head() holds for as long as `bytes`.
  size_t ReadHead(std::string_view bytes, std::optional<HttpFault>& fault);
  const HttpHead& head() const;

  // A chunked body: takes what it can of `bytes`, appends the data to `body`, returns how many it took.
  // REQUIRES: ReadHead was done and head().chunked
  size_t ReadChunks(std::string_view bytes, std::string& body, std::optional<HttpFault>& fault);
  bool BodyDone() const;  // of a chunked body

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// ASCII letters only.
bool EqualIgnoringCase(std::string_view a, std::string_view b);

}  // namespace falaj::wire

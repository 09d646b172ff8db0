// gzip and deflate, both ways, bounded.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace falaj::wire {

// deflate is the zlib format of RFC 1950, as HTTP means it.
enum class Encoding { kIdentity, kGzip, kDeflate };

// The encoding of that name in whatever case ("x-gzip" is gzip); none: it is not supported.
std::optional<Encoding> ParseEncoding(std::string_view name);

// What an answer to `accept_encoding` is best sent in (RFC 9110, 12.5.3): gzip before deflate before identity
// where their quality values are equal; identity where nothing that is supported is accepted.
Encoding ChooseEncoding(std::string_view accept_encoding);

enum class Inflated { kDone, kTooLarge, kMalformed };

// Used by one thread at a time; keeps its memory from call to call.
class Decompressor {
 public:
  Decompressor();
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  // Replaces `out` by what `in` holds: all of it, to the last byte; gzip members may follow each other. `out`
  // grows by what was really there, never by what a header claims. REQUIRES: encoding is not kIdentity
  Inflated Decompress(Encoding encoding, std::span<const std::byte> in, size_t max_bytes, std::string& out);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// As Decompressor. The level is zlib's fastest: a server's time is worth more than a few percent of size.
class Compressor {
 public:
  Compressor();
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  // Appends to `out`. Fails with Unavailable where memory is out. REQUIRES: encoding is not kIdentity
  Status Compress(Encoding encoding, std::string_view in, std::string& out);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace falaj::wire

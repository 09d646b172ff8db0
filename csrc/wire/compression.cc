#include "wire/compression.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace falaj::wire {
namespace {

constexpr size_t kStep = 64 * 1024;
constexpr int kWindowBits = 15;
constexpr int kGzipBits = kWindowBits + 16;

int WindowBits(Encoding encoding) { return encoding == Encoding::kGzip ? kGzipBits : kWindowBits; }
size_t IndexOf(Encoding encoding) { return encoding == Encoding::kGzip ? 0 : 1; }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// "q=0.5" as thousandths; 1000 where nothing is said, 0 where it cannot be read.
int Quality(std::string_view parameters) {
  const size_t begin = std::min(parameters.find("q="), parameters.find("Q="));
  if (begin == std::string_view::npos) return 1000;
  const std::string_view text = Trim(parameters.substr(begin + 2));
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || !(value >= 0 && value <= 1)) return 0;
  return static_cast<int>(value * 1000 + 0.5);
}

// The next piece of at most UINT_MAX bytes: zlib counts in 32 bits.
uInt PieceOf(size_t bytes) {
  return static_cast<uInt>(std::min<size_t>(bytes, std::numeric_limits<uInt>::max() / 2));
}

}  // namespace

std::optional<Encoding> ParseEncoding(std::string_view name) {
  std::string lower(Trim(name));
  std::transform(lower.begin(), lower.end(), lower.begin(), Lower);
  if (lower == "gzip" || lower == "x-gzip") return Encoding::kGzip;
  if (lower == "deflate") return Encoding::kDeflate;
  if (lower == "identity" || lower.empty()) return Encoding::kIdentity;
  return std::nullopt;
}

Encoding ChooseEncoding(std::string_view accept_encoding) {
  int any = -1;
  std::array<int, 3> quality{-1, -1, -1};  // by Encoding; -1: not named
  while (!accept_encoding.empty()) {
    const size_t comma = std::min(accept_encoding.find(','), accept_encoding.size());
    const std::string_view item = accept_encoding.substr(0, comma);
    accept_encoding.remove_prefix(std::min(comma + 1, accept_encoding.size()));
    const size_t semicolon = std::min(item.find(';'), item.size());
    const std::string_view name = Trim(item.substr(0, semicolon));
    const int value = Quality(item.substr(semicolon));
    if (name.empty()) continue;
    if (name == "*") {
      any = value;
    } else if (const auto encoding = ParseEncoding(name)) {
      quality[static_cast<size_t>(*encoding)] = value;
    }
  }
  const auto of = [&](Encoding encoding) {
    const int named = quality[static_cast<size_t>(encoding)];
    return named >= 0 ? named : std::max(any, 0);
  };
  // Identity is acceptable unless it is named otherwise, but never preferred for being unnamed.
  const int identity = std::max(quality[0], 0);
  Encoding best = Encoding::kIdentity;
  int best_quality = identity;
  for (const Encoding encoding : {Encoding::kDeflate, Encoding::kGzip}) {
    if (of(encoding) > 0 && of(encoding) >= best_quality) {
      best = encoding;
      best_quality = of(encoding);
    }
  }
  return best;
}

class Decompressor::Impl {
 public:
  ~Impl() {
    for (size_t i = 0; i < streams_.size(); ++i) {
      if (made_[i]) inflateEnd(&streams_[i]);
    }
  }

  Inflated Run(Encoding encoding, std::span<const std::byte> in, size_t max_bytes, std::string& out) {
    const Inflated result = Inflate(encoding, in, max_bytes, out);
    if (result != Inflated::kDone) out.clear();
    return result;
  }

 private:
  // `out` is longer than what it holds until the end: making room costs by the byte, and a body can be made
  // of any number of empty gzip members.
  Inflated Inflate(Encoding encoding, std::span<const std::byte> in, size_t max_bytes, std::string& out) {
    size_t held = 0;
    out.clear();
    z_stream* const stream = Ready(encoding);
    if (stream == nullptr) return Inflated::kTooLarge;
    stream->next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
    size_t left = in.size();  // beyond avail_in
    int result = Z_OK;
    while (true) {
      if (stream->avail_in == 0) {
        stream->avail_in = PieceOf(left);
        left -= stream->avail_in;
      }
      // One byte more than may come, so that too much is seen rather than guessed.
      if (held == out.size()) out.resize(held + std::min(std::max(kStep, held), max_bytes + 1 - held));
      stream->next_out = reinterpret_cast<Bytef*>(out.data() + held);
      stream->avail_out = PieceOf(out.size() - held);
      const uInt offered = stream->avail_out;
      result = inflate(stream, Z_NO_FLUSH);
      held += offered - stream->avail_out;
      if (held > max_bytes) return Inflated::kTooLarge;
      if (result == Z_STREAM_END) {
        if (stream->avail_in + left == 0) {
          out.resize(held);
          return Inflated::kDone;
        }
        // More gzip members may follow; behind a zlib stream nothing may.
        if (encoding != Encoding::kGzip || inflateReset(stream) != Z_OK) return Inflated::kMalformed;
      } else if (result != Z_OK || (stream->avail_in + left == 0 && stream->avail_out > 0)) {
        return Inflated::kMalformed;  // broken, or cut short
      }
    }
  }

  z_stream* Ready(Encoding encoding) {
    const size_t i = IndexOf(encoding);
    z_stream& stream = streams_[i];
    stream.avail_in = 0;
    if (!made_[i]) made_[i] = inflateInit2(&stream, WindowBits(encoding)) == Z_OK;
    return made_[i] && inflateReset(&stream) == Z_OK ? &stream : nullptr;
  }

  std::array<z_stream, 2> streams_{};
  std::array<bool, 2> made_{};
};

Decompressor::Decompressor() : impl_(std::make_unique<Impl>()) {}
Decompressor::~Decompressor() = default;

Inflated Decompressor::Decompress(Encoding encoding, std::span<const std::byte> in, size_t max_bytes,
                                  std::string& out) {
  return impl_->Run(encoding, in, max_bytes, out);
}

class Compressor::Impl {
 public:
  ~Impl() {
    for (size_t i = 0; i < streams_.size(); ++i) {
      if (made_[i]) deflateEnd(&streams_[i]);
    }
  }

  Status Run(Encoding encoding, std::string_view in, std::string& out) {
    const size_t i = IndexOf(encoding);
    z_stream& stream = streams_[i];
    if (!made_[i]) {
      made_[i] = deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, WindowBits(encoding), 8,
                              Z_DEFAULT_STRATEGY) == Z_OK;
    }
    if (!made_[i] || deflateReset(&stream) != Z_OK) return Unavailable("no memory is left to compress with");
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream.avail_in = 0;
    size_t left = in.size();
    int result = Z_OK;
    while (result != Z_STREAM_END) {
      if (stream.avail_in == 0) {
        stream.avail_in = PieceOf(left);
        left -= stream.avail_in;
      }
      const size_t old = out.size();
      out.resize(old + kStep);
      stream.next_out = reinterpret_cast<Bytef*>(out.data() + old);
      stream.avail_out = static_cast<uInt>(kStep);
      result = deflate(&stream, left == 0 ? Z_FINISH : Z_NO_FLUSH);
      out.resize(old + kStep - stream.avail_out);
      if (result == Z_STREAM_ERROR) return Internal("zlib could not compress an answer");
    }
    return Status::Ok();
  }

 private:
  std::array<z_stream, 2> streams_{};
  std::array<bool, 2> made_{};
};

Compressor::Compressor() : impl_(std::make_unique<Impl>()) {}
Compressor::~Compressor() = default;

Status Compressor::Compress(Encoding encoding, std::string_view in, std::string& out) {
  return impl_->Run(encoding, in, out);
}

}  // namespace falaj::wire

// RESP2, the protocol of Redis and Valkey, sans-IO: commands to bytes, bytes to replies.
#pragma once

#include <hiredis/read.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace falaj {

// Commands, one behind the other. Reused, it allocates only where they take more than ever before. Not
// thread-safe.
class RedisCommands {
 public:
  void Clear();
  // Begins a command of `arguments`, its name included; Add must follow as often.
  RedisCommands& Begin(size_t arguments);
  RedisCommands& Add(std::string_view argument);

  std::string_view bytes() const { return bytes_; }
  size_t count() const { return count_; }

 private:
  void AddNumber(char kind, size_t number);

  std::string bytes_;
  size_t count_ = 0;
};

// The replies to commands, flat: the elements of an array follow it. Valid until the next are read.
class RedisReplies {
 public:
  enum class Kind : uint8_t { kText, kArray, kInteger, kNil, kStatus, kError };
  struct Item {
    Kind kind;
    size_t size;      // of a text; else 0
    size_t begin;     // of a text among the others
    int64_t integer;  // of an integer; of an array how many elements it has
  };

  std::span<const Item> items() const { return items_; }
  std::string_view text(const Item& item) const { return {text_.data() + item.begin, item.size}; }

 private:
  friend class RedisReader;
  std::vector<Item> items_;
  std::vector<char> text_;
};

// Reads replies from bytes that are not trusted, by hiredis's parser. Bounds: replies that are read together
// are at most kMostBytes and kMostItems, and memory is taken for what came, never for what is announced; that
// of large replies is given back at the next. Not thread-safe.
class RedisReader {
 public:
  static constexpr size_t kMostBytes = size_t{256} << 20;
  static constexpr size_t kMostItems = size_t{1} << 21;

  RedisReader();

  // Begins with the replies to `count` commands.
  void Expect(size_t count);
  // Takes what came. Fails where that is no reply; the reader is then of no use any more.
  Status Take(std::span<const char> bytes);
  // Whether all that were expected are there.
  bool done() const { return expected_ == 0; }
  // Whether nothing came behind them.
  bool clean() const { return reader_->pos == reader_->len; }
  const RedisReplies& replies() const { return replies_; }

 private:
  struct Functions;
  struct Deleter {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };
  static RedisReader& Of(const redisReadTask* task);
  void* Append(RedisReplies::Item item, std::string_view text) noexcept;

  RedisReplies replies_;
  size_t expected_ = 0;
  size_t bytes_ = 0;  // that came since Expect
  std::unique_ptr<redisReader, Deleter> reader_;
};

}  // namespace falaj

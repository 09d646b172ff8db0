#include "join/redis_protocol.h"

#include <charconv>
#include <new>

namespace falaj {
namespace {

constexpr size_t kKeptBytes = size_t{1} << 20;  // of memory, from one use to the next

Status NoReply(const std::string& why) { return Internal("online store: the server's answer: " + why); }

}  // namespace

void RedisCommands::Clear() {
  bytes_.clear();
  if (bytes_.capacity() > kKeptBytes) bytes_.shrink_to_fit();
  count_ = 0;
}

void RedisCommands::AddNumber(char kind, size_t number) {
  char digits[24];
  digits[0] = kind;
  char* const end = std::to_chars(digits + 1, digits + 22, number).ptr;
  end[0] = '\r';
  end[1] = '\n';
  bytes_.append(digits, static_cast<size_t>(end + 2 - digits));
}

RedisCommands& RedisCommands::Begin(size_t arguments) {
  AddNumber('*', arguments);
  ++count_;
  return *this;
}

RedisCommands& RedisCommands::Add(std::string_view argument) {
  AddNumber('$', argument.size());
  bytes_.append(argument).append("\r\n");
  return *this;
}

// What hiredis's parser calls; it is C, so nothing may be thrown through it. What they return is not used but
// for not being null, which would be "out of memory".
struct RedisReader::Functions {
  using Kind = RedisReplies::Kind;

  static void* Text(const redisReadTask* task, char* text, size_t size) {
    const Kind kind = task->type == REDIS_REPLY_ERROR    ? Kind::kError
                      : task->type == REDIS_REPLY_STATUS ? Kind::kStatus
                                                         : Kind::kText;
    return Of(task).Append({kind, size, 0, 0}, {text, size});
  }
  static void* Integer(const redisReadTask* task, long long value) {
    return Of(task).Append({Kind::kInteger, 0, 0, value}, {});
  }
  static void* Nil(const redisReadTask* task) { return Of(task).Append({Kind::kNil, 0, 0, 0}, {}); }

  static redisReplyObjectFunctions* Table() {
    static redisReplyObjectFunctions table = [] {
      redisReplyObjectFunctions functions{};
      functions.createString = &Text;
      // Its elements are an int or, from hiredis 1.0 on, a size_t.
      functions.createArray = [](const redisReadTask* task, auto elements) -> void* {
        return Of(task).Append({Kind::kArray, 0, 0, static_cast<int64_t>(elements)}, {});
      };
      functions.createInteger = &Integer;
      functions.createNil = &Nil;
      functions.freeObject = [](void*) {};
      return functions;
    }();
    return &table;
  }
};

RedisReader& RedisReader::Of(const redisReadTask* task) { return *static_cast<RedisReader*>(task->privdata); }

void* RedisReader::Append(RedisReplies::Item item, std::string_view text) noexcept {
  if (replies_.items_.size() == kMostItems) return nullptr;
  try {
    item.begin = replies_.text_.size();
    replies_.text_.insert(replies_.text_.end(), text.begin(), text.end());
    replies_.items_.push_back(item);
    return this;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

RedisReader::RedisReader() : reader_(redisReaderCreateWithFunctions(Functions::Table())) {
  if (reader_ == nullptr) throw std::bad_alloc();
  reader_->privdata = this;
  reader_->maxbuf = kKeptBytes;
}

void RedisReader::Expect(size_t count) {
  replies_.items_.clear();
  replies_.text_.clear();
  if (replies_.items_.capacity() * sizeof(RedisReplies::Item) > kKeptBytes) replies_.items_.shrink_to_fit();
  if (replies_.text_.capacity() > kKeptBytes) replies_.text_.shrink_to_fit();
  expected_ = count;
  bytes_ = 0;
}

Status RedisReader::Take(std::span<const char> bytes) {
  bytes_ += bytes.size();
  if (bytes_ > kMostBytes) return NoReply("takes more than " + std::to_string(kMostBytes) + " bytes");
  if (redisReaderFeed(reader_.get(), bytes.data(), bytes.size()) != REDIS_OK) {
    return NoReply(reader_->errstr);
  }
  while (expected_ > 0) {
    void* whole = nullptr;
    if (redisReaderGetReply(reader_.get(), &whole) != REDIS_OK) {
      const bool many = replies_.items_.size() == kMostItems;
      return NoReply(many ? "has more than " + std::to_string(kMostItems) + " elements" : reader_->errstr);
    }
    if (whole == nullptr) return Status::Ok();
    --expected_;
  }
  return Status::Ok();
}

}  // namespace falaj

#include "bare_redis.h"

#include <cstdio>
#include <cstdlib>

#include "join/entity_key.h"

namespace falaj {
namespace {

[[noreturn]] void Fail(const char* why) {
  std::fprintf(stderr, "hiredis: %s\n", why);
  std::exit(1);
}

}  // namespace

BareRedis::BareRedis(uint16_t port, std::string rows)
    : context_(redisConnect("127.0.0.1", port)), rows_(std::move(rows)) {
  if (context_ == nullptr || context_->err != 0) Fail("cannot connect");
}

size_t BareRedis::Ask(std::span<const int64_t> ids) {
  const ColumnData key{DataType::kInt64, reinterpret_cast<const std::byte*>(ids.data()), nullptr};
  EntityKey encoded;
  keys_.resize(ids.size());
  arguments_.assign({"HMGET", rows_.c_str()});
  sizes_.assign({5, rows_.size()});
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!encoded.Encode({&key, 1}, i)) Fail("a key is too long");
    keys_[i] = encoded.bytes();
    arguments_.push_back(keys_[i].data());
    sizes_.push_back(keys_[i].size());
  }
  redisAppendCommandArgv(context_.get(), static_cast<int>(arguments_.size()), arguments_.data(),
                         sizes_.data());
  void* answer = nullptr;
  if (redisGetReply(context_.get(), &answer) != REDIS_OK) Fail(context_->errstr);
  auto* const reply = static_cast<redisReply*>(answer);
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements != ids.size()) Fail("another answer");
  size_t bytes = 0;
  for (size_t i = 0; i < reply->elements; ++i) bytes += static_cast<size_t>(reply->element[i]->len);
  freeReplyObject(reply);
  return bytes;
}

}  // namespace falaj

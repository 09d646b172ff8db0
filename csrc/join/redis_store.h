// The shared online store: a Redis or Valkey server that many processes read and write.
#pragma once

#include <memory>
#include <string>

#include "join/online_store.h"
#include "join/redis_pool.h"

namespace falaj {

// The keys of a view. All have the hash tag {name@version}.
struct RedisKeys {
  std::string view;  // a hash: `format`, `definition` (Describe) and, once there is one, `cursor`
  std::string rows;  // a hash: an entity's entries (frontier.h) under its key (entity_key.h)
  std::string turn;  // for a short time, whose turn to write it is
};
// The rows of another definition lie elsewhere, so that who has that one open finds nothing of this one.
RedisKeys KeysOf(const std::string& name, uint32_t version, const std::string& definition);
std::string HexDigits(std::span<const unsigned char> bytes);

// What is wrong with replies that are not what the commands give.
[[gnu::cold]] Status UnexpectedReply(const std::string& what);
// Fails unless the stored `format` and `definition`, as HMGET gives them from item `first` on, are those of
// `spec`; with NotFound where there are none.
Status CheckStored(const RedisReplies& replies, size_t first, const ViewSpec& spec);
// Whether the transaction of the commands, of which EXEC is item `at`, was made; false: others were faster.
Status Executed(const RedisReplies& replies, size_t at, const std::string& what, bool& done);
// Begins with WATCH of the view's keys and asks for its format and definition: two replies, four items.
void SayWatch(RedisCommands& commands, const RedisKeys& keys);

// The set `falaj:views` has name@version of each view. Everything is changed in transactions that fail where
// what they rest on has changed meanwhile, and are then tried again. Thread-safe.
class RedisStore : public OnlineStore {
 public:
  static constexpr std::string_view kFormat = "1";
  static constexpr std::string_view kViews = "falaj:views";
  static constexpr int kMostTries = 200;

  // Fails where the server cannot be reached, or evicts keys.
  static Result<std::unique_ptr<RedisStore>> Open(RedisOptions options);

  Result<std::shared_ptr<OnlineView>> OpenView(const ViewSpec& spec) override;
  Result<std::vector<std::pair<std::string, uint32_t>>> Views() override;
  // Frees the rows on the server's own thread.
  Status DropView(const std::string& name, uint32_t version) override;

 private:
  explicit RedisStore(std::shared_ptr<RedisPool> pool) : pool_(std::move(pool)) {}
  Status CheckEviction();
  Status TryMake(const ViewSpec& spec, const RedisKeys& keys, bool& done);
  Status TryDrop(const std::string& name, uint32_t version, bool& done);

  const std::shared_ptr<RedisPool> pool_;
};

// Waits before the next attempt at what somebody else was faster with.
void PauseBefore(int attempt);

// Calls `attempt(done)` until it sets `done`, pausing longer and longer between; fails where it fails, or has
// not done so kMostTries times.
template <typename Attempt>
Status TryUntilDone(const std::string& what, Attempt attempt) {
  for (int tried = 0; tried < RedisStore::kMostTries; ++tried) {
    if (tried > 0) PauseBefore(tried);
    bool done = false;
    FALAJ_RETURN_IF_ERROR(attempt(done));
    if (done) return Status::Ok();
  }
  return Unavailable(what + ": others changed it meanwhile, " + std::to_string(RedisStore::kMostTries) +
                     " times: try again");
}

}  // namespace falaj

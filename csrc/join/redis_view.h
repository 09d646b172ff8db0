// A view in a Redis or Valkey store.
#pragma once

#include <memory>
#include <string>

#include "join/entity_writes.h"
#include "join/online_store.h"
#include "join/redis_pool.h"
#include "join/redis_store.h"
#include "join/shared_view.h"

namespace falaj {

// Thread-safe; all but the pool's own state is constant. A Read is one round trip, of which the server
// answers all in one state; a Write is a transaction that fails where another changed the view since what it
// merged into was read, and is then made again.
class RedisView : public SharedView {
 public:
  static constexpr size_t kMostEntities = 1'000'000;  // of a Read: the server takes no command much longer

  RedisView(std::shared_ptr<RedisPool> pool, RedisKeys keys, ViewSpec spec)
      : pool_(std::move(pool)), keys_(std::move(keys)), spec_(std::move(spec)), layout_(spec_.columns) {}

  const ViewSpec& spec() const override { return spec_; }
  std::unique_ptr<PendingRead> Ask(const SharedRead& read) override;
  Result<size_t> Write(const WriteRows& rows, int64_t now, const std::optional<std::string>& cursor) override;
  Result<std::optional<std::string>> Cursor() override;
  Result<size_t> Entities() override;
  // The server answers nobody else while it takes a write in.
  size_t WriteBytes() const override { return size_t{1} << 20; }

 private:
  static constexpr int kPatience = 4;
  static constexpr std::string_view kTurnMs = "2000";  // after which it is anybody's: its writer may be dead
  class LookUp;
  struct Pending;
  struct Turn;
  Status TryWrite(EntityWrites& writes, int64_t now, const std::optional<std::string>& cursor, Turn& turn,
                  size_t& entities, bool& done) const;
  Status TakeTurn(RedisConnection& connection, Turn& turn) const;
  Status MergeAll(RedisConnection& connection, EntityWrites& writes, int64_t now, Pending& pending) const;
  Status Store(RedisConnection& connection, const EntityWrites& writes, const Pending& pending,
               const std::optional<std::string>& cursor, const Turn& turn, bool& done) const;
  TimePoint WriteDeadline() const {
    return std::chrono::steady_clock::now() + pool_->options().write_timeout;
  }

  const std::shared_ptr<RedisPool> pool_;
  const RedisKeys keys_;
  const ViewSpec spec_;
  const RowLayout layout_;
};

}  // namespace falaj

// The embedded online store: a folder with an LMDB database that several processes may read while one writes.
#pragma once

#include <memory>
#include <string>

#include "join/lmdb_environment.h"
#include "join/online_store.h"

namespace falaj {

// A database `view@version` per view has an entity's entries (frontier.h) under its key (entity_key.h); the
// database `meta` has the format's number, and each view's description and cursor. Thread-safe.
class LmdbStore : public OnlineStore {
 public:
  static constexpr std::string_view kFormat = "1";

  static Result<std::unique_ptr<LmdbStore>> Open(const std::string& path, size_t map_bytes);

  Result<std::shared_ptr<OnlineView>> OpenView(const ViewSpec& spec) override;
  Result<std::vector<std::pair<std::string, uint32_t>>> Views() override;
  Status DropView(const std::string& name, uint32_t version) override;

 private:
  LmdbStore(std::shared_ptr<LmdbEnvironment> env, MDB_dbi meta) : env_(std::move(env)), meta_(meta) {}
  Result<std::shared_ptr<OnlineView>> OpenKnown(const ViewSpec& spec);
  Result<std::shared_ptr<OnlineView>> MakeView(const ViewSpec& spec);

  const std::shared_ptr<LmdbEnvironment> env_;
  const MDB_dbi meta_;
};

}  // namespace falaj

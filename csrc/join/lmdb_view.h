// A view in an LMDB store.
#pragma once

#include <memory>
#include <string>

#include "join/lmdb_environment.h"
#include "join/online_store.h"

namespace falaj {

// The keys of `meta`.
std::string DescriptionKey(const std::string& name, uint32_t version);
std::string CursorKey(const std::string& name, uint32_t version);

// Thread-safe; all but the environment's own state is constant.
class LmdbView : public OnlineView {
 public:
  LmdbView(std::shared_ptr<LmdbEnvironment> env, MDB_dbi meta, MDB_dbi rows, ViewSpec spec)
      : env_(std::move(env)), meta_(meta), rows_(rows), spec_(std::move(spec)), layout_(spec_.columns) {}

  const ViewSpec& spec() const override { return spec_; }
  Status Read(std::span<const ColumnData> keys, size_t count, AsOf times, FeatureColumns& out) override;
  Result<size_t> Write(const WriteRows& rows, int64_t now, const std::optional<std::string>& cursor) override;
  Result<std::optional<std::string>> Cursor() override;
  Result<size_t> Entities() override;
  // Nobody who reads waits for it, and each is synced to the disk.
  size_t WriteBytes() const override { return size_t{64} << 20; }

 private:
  Status CheckThere(MDB_txn* txn) const;

  const std::shared_ptr<LmdbEnvironment> env_;
  const MDB_dbi meta_;
  const MDB_dbi rows_;
  const ViewSpec spec_;
  const RowLayout layout_;
};

}  // namespace falaj

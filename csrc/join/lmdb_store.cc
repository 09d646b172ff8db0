#include "join/lmdb_store.h"

#include "join/lmdb_view.h"

namespace falaj {
namespace {

constexpr std::string_view kFormatKey = "format";
constexpr std::string_view kViewPrefix = "view:";

std::string DatabaseOf(const std::string& name, uint32_t version) {
  return name + "@" + std::to_string(version);
}

// Opens or makes `meta` and checks the format.
Result<MDB_dbi> OpenMeta(LmdbEnvironment& env) {
  const auto check = [](const MDB_val& found) {
    if (ToView(found) == LmdbStore::kFormat) return Status::Ok();
    return Unsupported("online store: expected format " + std::string(LmdbStore::kFormat) + ", got " +
                       std::string(ToView(found)));
  };
  MutexLock lock(env.opening());
  MDB_dbi meta = 0;
  MDB_val key = ToVal(kFormatKey), value;
  {
    LmdbRead txn(env);  // what is there is opened without waiting for a writer
    FALAJ_RETURN_IF_ERROR(txn.Begin());
    if (mdb_dbi_open(txn.get(), "meta", 0, &meta) == 0 && mdb_get(txn.get(), meta, &key, &value) == 0) {
      FALAJ_RETURN_IF_ERROR(check(value));
      FALAJ_RETURN_IF_ERROR(txn.Commit());
      return meta;
    }
  }
  LmdbWrite txn(env);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  int code = mdb_dbi_open(txn.get(), "meta", MDB_CREATE, &meta);
  if (code != 0) return env.Failed(code, "opening");
  code = mdb_get(txn.get(), meta, &key, &value);
  if (code == 0) FALAJ_RETURN_IF_ERROR(check(value));
  if (code != 0) FALAJ_RETURN_IF_ERROR(txn.Put(meta, kFormatKey, LmdbStore::kFormat));
  FALAJ_RETURN_IF_ERROR(txn.Commit());
  return meta;
}

}  // namespace

Result<std::unique_ptr<LmdbStore>> LmdbStore::Open(const std::string& path, size_t map_bytes) {
  auto env = LmdbEnvironment::Open(path, map_bytes);
  if (!env.ok()) return env.status();
  auto meta = OpenMeta(**env);
  if (!meta.ok()) return meta.status();
  return std::unique_ptr<LmdbStore>(new LmdbStore(*std::move(env), *meta));
}

Result<std::shared_ptr<OnlineView>> LmdbStore::OpenView(const ViewSpec& spec) {
  FALAJ_RETURN_IF_ERROR(CheckSpec(spec));
  MutexLock lock(env_->opening());
  auto known = OpenKnown(spec);
  if (known.ok() || known.status().code() != Code::kNotFound) return known;
  return MakeView(spec);
}

// Without waiting for a writer.
Result<std::shared_ptr<OnlineView>> LmdbStore::OpenKnown(const ViewSpec& spec) {
  LmdbRead txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  const std::string key = DescriptionKey(spec.name, spec.version);
  MDB_val at = ToVal(key), value;
  int code = mdb_get(txn.get(), meta_, &at, &value);
  if (code == MDB_NOTFOUND) return NotFound("no such view");
  if (code != 0) return env_->Failed(code, "reading");
  FALAJ_RETURN_IF_ERROR(CheckDescription(ToView(value), spec));
  MDB_dbi rows = 0;
  code = mdb_dbi_open(txn.get(), DatabaseOf(spec.name, spec.version).c_str(), 0, &rows);
  if (code != 0) return env_->Failed(code, "opening a view");
  FALAJ_RETURN_IF_ERROR(txn.Commit());
  return std::shared_ptr<OnlineView>(std::make_shared<LmdbView>(env_, meta_, rows, spec));
}

Result<std::shared_ptr<OnlineView>> LmdbStore::MakeView(const ViewSpec& spec) {
  LmdbWrite txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  const std::string key = DescriptionKey(spec.name, spec.version);
  MDB_val at = ToVal(key), value;
  int code = mdb_get(txn.get(), meta_, &at, &value);
  if (code == 0) FALAJ_RETURN_IF_ERROR(CheckDescription(ToView(value), spec));  // another process was faster
  if (code != 0) FALAJ_RETURN_IF_ERROR(txn.Put(meta_, key, Describe(spec)));
  MDB_dbi rows = 0;
  code = mdb_dbi_open(txn.get(), DatabaseOf(spec.name, spec.version).c_str(), MDB_CREATE, &rows);
  if (code != 0) return env_->Failed(code, "making a view");
  FALAJ_RETURN_IF_ERROR(txn.Commit());
  return std::shared_ptr<OnlineView>(std::make_shared<LmdbView>(env_, meta_, rows, spec));
}

Result<std::vector<std::pair<std::string, uint32_t>>> LmdbStore::Views() {
  LmdbRead txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  MDB_cursor* opened = nullptr;
  int code = mdb_cursor_open(txn.get(), meta_, &opened);
  if (code != 0) return env_->Failed(code, "reading");
  const std::unique_ptr<MDB_cursor, decltype(&mdb_cursor_close)> cursor(opened, &mdb_cursor_close);
  std::vector<std::pair<std::string, uint32_t>> views;
  MDB_val key = ToVal(kViewPrefix), value;
  for (code = mdb_cursor_get(opened, &key, &value, MDB_SET_RANGE); code == 0;
       code = mdb_cursor_get(opened, &key, &value, MDB_NEXT)) {
    std::string_view name = ToView(key);
    if (!name.starts_with(kViewPrefix)) return views;
    name.remove_prefix(kViewPrefix.size());
    const size_t at = name.rfind('@');
    views.emplace_back(name.substr(0, at),
                       static_cast<uint32_t>(std::stoul(std::string(name.substr(at + 1)))));
  }
  if (code != MDB_NOTFOUND) return env_->Failed(code, "reading");
  return views;
}

Status LmdbStore::DropView(const std::string& name, uint32_t version) {
  MutexLock lock(env_->opening());
  LmdbWrite txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  const std::string description = DescriptionKey(name, version), cursor = CursorKey(name, version);
  MDB_val key = ToVal(description);
  int code = mdb_del(txn.get(), meta_, &key, nullptr);
  if (code == MDB_NOTFOUND) return NotFound("view " + DatabaseOf(name, version) + " is not in the store");
  key = ToVal(cursor);
  if (code == 0) code = mdb_del(txn.get(), meta_, &key, nullptr);
  if (code == MDB_NOTFOUND) code = 0;
  // Emptied, not deleted: other handles, here and in other processes, stay valid.
  MDB_dbi rows = 0;
  if (code == 0) code = mdb_dbi_open(txn.get(), DatabaseOf(name, version).c_str(), 0, &rows);
  if (code == 0) code = mdb_drop(txn.get(), rows, 0);
  if (code != 0) return env_->Failed(code, "dropping a view");
  return txn.Commit();
}

}  // namespace falaj

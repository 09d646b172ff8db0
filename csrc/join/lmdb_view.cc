#include "join/lmdb_view.h"

#include <algorithm>
#include <array>

#include "join/entity_key.h"
#include "join/entity_writes.h"

namespace falaj {
namespace {

std::span<const std::byte> Bytes(const MDB_val& val) {
  return {static_cast<const std::byte*>(val.mv_data), val.mv_size};
}

// So many entities are found before the first is read, so that the memory of one comes while another is
// looked for.
constexpr size_t kAhead = 16;
constexpr size_t kCacheLine = 64;
constexpr size_t kMostAhead = 4096;  // bytes of one entity

void Prefetch(std::span<const std::byte> value) {
  const size_t bytes = std::min(value.size(), kMostAhead);
  for (size_t at = 0; at < bytes; at += kCacheLine) __builtin_prefetch(value.data() + at);
}

}  // namespace

std::string DescriptionKey(const std::string& name, uint32_t version) {
  return "view:" + name + "@" + std::to_string(version);
}

std::string CursorKey(const std::string& name, uint32_t version) {
  return "cursor:" + name + "@" + std::to_string(version);
}

Status LmdbView::Read(std::span<const ColumnData> keys, size_t count, AsOf times, FeatureColumns& out) {
  FALAJ_RETURN_IF_ERROR(CheckColumns(keys, spec_.keys, "key"));
  out.Reset(layout_, count);
  LmdbRead txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  EntityKey key;
  std::array<MDB_val, kAhead> values;
  for (size_t begin = 0; begin < count; begin += kAhead) {
    const size_t end = std::min(count, begin + kAhead);
    for (size_t i = begin; i < end; ++i) {
      MDB_val& value = values[i - begin];
      value = {0, nullptr};
      if (!key.Encode(keys, i)) continue;
      MDB_val at = ToVal(key.bytes());
      const int code = mdb_get(txn.get(), rows_, &at, &value);
      if (code != 0 && code != MDB_NOTFOUND) return env_->Failed(code, "reading");
      if (code == MDB_NOTFOUND) value = {0, nullptr};
      Prefetch(Bytes(value));
    }
    for (size_t i = begin; i < end; ++i) {
      if (values[i - begin].mv_data == nullptr && !spec_.windowed) continue;
      FALAJ_RETURN_IF_ERROR(TakeEntity(Bytes(values[i - begin]), spec_, layout_, times[i], i, out));
    }
  }
  out.Finish();
  return Status::Ok();
}

Status LmdbView::CheckThere(MDB_txn* txn) const {
  const std::string key = DescriptionKey(spec_.name, spec_.version);
  MDB_val at = ToVal(key), value;
  const int code = mdb_get(txn, meta_, &at, &value);
  if (code == MDB_NOTFOUND) return NotFound(ViewName(spec_) + ": was dropped from the store");
  if (code != 0) return env_->Failed(code, "reading");
  return CheckDescription(ToView(value), spec_);
}

Result<size_t> LmdbView::Write(const WriteRows& rows, int64_t now, const std::optional<std::string>& cursor) {
  auto made = EntityWrites::Make(rows, spec_, layout_);
  if (!made.ok()) return made.status();
  EntityWrites& writes = **made;
  LmdbWrite txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  FALAJ_RETURN_IF_ERROR(CheckThere(txn.get()));
  size_t entities = 0;
  for (size_t i = 0; i < writes.size(); ++i) {
    const std::string_view key = writes.key(i);
    MDB_val at = ToVal(key), value{0, nullptr};
    const int code = mdb_get(txn.get(), rows_, &at, &value);
    if (code != 0 && code != MDB_NOTFOUND) return env_->Failed(code, "reading");
    const std::string_view old = ToView(value);
    FALAJ_RETURN_IF_ERROR(writes.Merge(i, code == 0 ? &old : nullptr, now));
    if (!writes.changed()) continue;
    FALAJ_RETURN_IF_ERROR(txn.Put(rows_, key, writes.value()));
    ++entities;
  }
  if (cursor) FALAJ_RETURN_IF_ERROR(txn.Put(meta_, CursorKey(spec_.name, spec_.version), *cursor));
  FALAJ_RETURN_IF_ERROR(txn.Commit());
  return entities;
}

Result<std::optional<std::string>> LmdbView::Cursor() {
  LmdbRead txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  const std::string key = CursorKey(spec_.name, spec_.version);
  MDB_val at = ToVal(key), value;
  const int code = mdb_get(txn.get(), meta_, &at, &value);
  if (code == MDB_NOTFOUND) return std::optional<std::string>();
  if (code != 0) return env_->Failed(code, "reading");
  return std::optional<std::string>(ToView(value));
}

Result<size_t> LmdbView::Entities() {
  LmdbRead txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  MDB_stat stat;
  if (const int code = mdb_stat(txn.get(), rows_, &stat); code != 0) return env_->Failed(code, "reading");
  return stat.ms_entries;
}

}  // namespace falaj

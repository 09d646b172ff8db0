#include "join/lmdb_view.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace falaj {
namespace {

std::string Name(const ViewSpec& spec) { return "view " + spec.name + "@" + std::to_string(spec.version); }

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

Status Damaged(const ViewSpec& spec) { return Internal(Name(spec) + ": a stored entity is damaged"); }

}  // namespace

// Reused from entity to entity.
struct LmdbView::Scratch {
  std::vector<std::byte> rows;   // the new rows
  std::vector<size_t> row_ends;  // in `rows`
  std::vector<Entry> entries;
  std::vector<std::byte> value;
};

std::string DescriptionKey(const std::string& name, uint32_t version) {
  return "view:" + name + "@" + std::to_string(version);
}

std::string CursorKey(const std::string& name, uint32_t version) {
  return "cursor:" + name + "@" + std::to_string(version);
}

Status CheckDescription(std::string_view found, const ViewSpec& spec) {
  const std::string text = Describe(spec);
  std::string_view expected = text;
  while (!found.empty() || !expected.empty()) {
    const std::string_view a = found.substr(0, found.find('\n'));
    const std::string_view b = expected.substr(0, expected.find('\n'));
    if (a != b) {
      return InvalidInput(Name(spec) + ": is stored with '" + std::string(a) + "', got '" + std::string(b) +
                          "': a changed view is another version");
    }
    found.remove_prefix(std::min(found.size(), a.size() + 1));
    expected.remove_prefix(std::min(expected.size(), b.size() + 1));
  }
  return Status::Ok();
}

Status LmdbView::Read(std::span<const ColumnData> keys, size_t count, int64_t now, FeatureColumns& out) {
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
      if (values[i - begin].mv_data == nullptr) continue;
      FALAJ_RETURN_IF_ERROR(Take(Bytes(values[i - begin]), now, i, out));
    }
  }
  out.Finish();
  return Status::Ok();
}

Status LmdbView::Take(std::span<const std::byte> value, int64_t now, size_t i, FeatureColumns& out) const {
  std::optional<Entry> entry;
  if (!FindVisible(value, layout_, now, entry)) return Damaged(spec_);
  if (!entry || entry->deleted) return Status::Ok();
  // visible_ts <= now and event <= visible_ts: what has passed since is not negative, but may be 2^63 and
  // more.
  const uint64_t age = static_cast<uint64_t>(now) - static_cast<uint64_t>(entry->event);
  if (spec_.ttl_us && age > static_cast<uint64_t>(*spec_.ttl_us)) {
    out.SetExpired(i);
  } else {
    out.SetPresent(i, entry->row);
  }
  return Status::Ok();
}

Status LmdbView::CheckRows(const WriteRows& rows) const {
  FALAJ_RETURN_IF_ERROR(CheckColumns(rows.keys, spec_.keys, "key"));
  FALAJ_RETURN_IF_ERROR(CheckColumns(rows.columns, spec_.columns, "column"));
  const size_t count = rows.event.size();
  if (rows.known.size() != count || rows.sequence.size() != count || rows.deleted.size() != count) {
    return InvalidInput(Name(spec_) + ": expected as many known, sequence and deleted as the " +
                        std::to_string(count) + " event times");
  }
  return Status::Ok();
}

Status LmdbView::CheckThere(MDB_txn* txn) const {
  const std::string key = DescriptionKey(spec_.name, spec_.version);
  MDB_val at = ToVal(key), value;
  const int code = mdb_get(txn, meta_, &at, &value);
  if (code == MDB_NOTFOUND) return NotFound(Name(spec_) + ": was dropped from the store");
  if (code != 0) return env_->Failed(code, "reading");
  return CheckDescription(ToView(value), spec_);
}

Status LmdbView::MergeEntity(LmdbWrite& txn, std::string_view key, const WriteRows& rows,
                             std::span<const size_t> order, int64_t now, Scratch& scratch,
                             bool& changed) const {
  scratch.rows.clear();
  scratch.row_ends.clear();
  scratch.entries.clear();
  for (const size_t row : order) {
    if (rows.deleted[row] == 0) FALAJ_RETURN_IF_ERROR(layout_.Encode(rows.columns, row, scratch.rows));
    scratch.row_ends.push_back(scratch.rows.size());
  }
  MDB_val at = ToVal(key), old{0, nullptr};
  const int code = mdb_get(txn.get(), rows_, &at, &old);
  if (code != 0 && code != MDB_NOTFOUND) return env_->Failed(code, "reading");
  if (code == 0 && !DecodeEntries(Bytes(old), layout_, scratch.entries)) return Damaged(spec_);
  size_t begin = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t row = order[i], end = scratch.row_ends[i];
    scratch.entries.push_back({VisibleFrom(rows.event[row], rows.known[row], spec_.delay_us), rows.event[row],
                               rows.known[row], rows.sequence[row], rows.deleted[row] != 0,
                               std::span(scratch.rows).subspan(begin, end - begin)});
    begin = end;
  }
  Merge(scratch.entries, layout_, now);
  EncodeEntries(scratch.entries, scratch.value);
  const std::string_view value(reinterpret_cast<const char*>(scratch.value.data()), scratch.value.size());
  changed = code == MDB_NOTFOUND || value != ToView(old);
  return changed ? txn.Put(rows_, key, value) : Status::Ok();
}

Result<size_t> LmdbView::Write(const WriteRows& rows, int64_t now, const std::optional<std::string>& cursor) {
  FALAJ_RETURN_IF_ERROR(CheckRows(rows));
  std::vector<std::string> keys(rows.event.size());
  EntityKey key;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!key.Encode(rows.keys, i)) {
      return InvalidInput(Name(spec_) + ", row " + std::to_string(i) + ": its key takes more than the " +
                          std::to_string(EntityKey::kMaxBytes) + " bytes that a key may");
    }
    keys[i] = key.bytes();
  }
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return keys[a] < keys[b]; });

  LmdbWrite txn(*env_);
  FALAJ_RETURN_IF_ERROR(txn.Begin());
  FALAJ_RETURN_IF_ERROR(CheckThere(txn.get()));
  Scratch scratch;
  size_t entities = 0;
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && keys[order[end]] == keys[order[begin]]) ++end;
    bool changed = false;
    FALAJ_RETURN_IF_ERROR(MergeEntity(txn, keys[order[begin]], rows,
                                      std::span(order).subspan(begin, end - begin), now, scratch, changed));
    entities += changed ? 1 : 0;
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

// The online stores behind one interface: what is known of an entity now.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "join/as_of.h"
#include "join/columns.h"
#include "join/feature_columns.h"

namespace falaj {

class SharedView;

// A view in a store. Outlives its store where that is closed first. Thread-safe.
class OnlineView {
 public:
  virtual ~OnlineView() = default;

  virtual const ViewSpec& spec() const = 0;

  // This, where it is in a store that is elsewhere (shared_view.h); else nullptr.
  virtual SharedView* shared() { return nullptr; }

  // Looks `count` entities up as of `times`, all in one state of the store. Does not wait for a writer; of a
  // store on this machine, with an `out` that was used before, it allocates nothing. A key too long to be
  // stored is missing. Of a view with aggregates every entity is present: one that is not stored has windows
  // of no events. Of a store that is elsewhere it fails with DeadlineExceeded or Unavailable, within its
  // time; `out` then has what is known of before, other entities missing. REQUIRES: `keys` have the view's
  // key types and `count` rows.
  virtual Status Read(std::span<const ColumnData> keys, size_t count, AsOf times, FeatureColumns& out) = 0;

  // Merges rows into what the store has, durably, all or none, with the cursor; nullopt leaves it. Returns
  // how many entities changed. What is superseded as of `now` is dropped, so nothing may be read at an
  // earlier time afterwards. Rows that are written twice are one row; but events of a view with aggregates
  // are so only if they have one id. May wait for another writer.
  virtual Result<size_t> Write(const WriteRows& rows, int64_t now,
                               const std::optional<std::string>& cursor) = 0;

  // What the last Write that had one left: how far a source has been read.
  virtual Result<std::optional<std::string>> Cursor() = 0;

  // How many entities there are rows of, deleted ones included.
  virtual Result<size_t> Entities() = 0;

  // About how many bytes of rows a Write should have, for what it costs those who read meanwhile.
  virtual size_t WriteBytes() const = 0;
};

// Thread-safe.
class OnlineStore {
 public:
  virtual ~OnlineStore() = default;

  // Makes the view where it is not there. Fails where it is, by another definition.
  virtual Result<std::shared_ptr<OnlineView>> OpenView(const ViewSpec& spec) = 0;
  // Name and version.
  virtual Result<std::vector<std::pair<std::string, uint32_t>>> Views() = 0;
  // Reads of a view that is open meanwhile find nothing, and writes to it fail.
  virtual Status DropView(const std::string& name, uint32_t version) = 0;
};

// Fails, naming what is wrong, unless `spec` can be stored.
Status CheckSpec(const ViewSpec& spec);
// Fails unless `columns` have the types of `specs`. `what`: "key" or "column".
Status CheckColumns(std::span<const ColumnData> columns, std::span<const ColumnSpec> specs, const char* what);
// Fails unless `rows` are of the view, all as many.
Status CheckRows(const WriteRows& rows, const ViewSpec& spec);
// The spec as text, a line for each thing that must not change.
std::string Describe(const ViewSpec& spec);
// Fails unless `found`, a description in a store, is that of `spec`, naming the first line that differs.
Status CheckDescription(std::string_view found, const ViewSpec& spec);
// Sets entity `i` of `out` to what its stored `value` (frontier.h, or window_entity.h, where it may be empty)
// tells as of `now`. Fails where that is damaged. `value` stays as it is until Flush or Finish of `out`.
Status TakeEntity(std::span<const std::byte> value, const ViewSpec& spec, const RowLayout& layout,
                  int64_t now, size_t i, FeatureColumns& out);

// What errors call a view: `view name@version`.
std::string ViewName(const ViewSpec& spec);
[[gnu::cold]] Status DamagedEntity(const ViewSpec& spec);

}  // namespace falaj

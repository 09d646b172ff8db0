// What a store holds of an entity: the rows that its answer can be, from now on.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "join/row_layout.h"

namespace falaj {

// A row of an entity, visible from max(event, known + delay) on; times in µs. The row is not owned.
struct Entry {
  int64_t visible;
  int64_t event;
  int64_t known;
  int64_t sequence;
  bool deleted;
  std::span<const std::byte> row;  // empty where deleted
};

// max(event, known + delay), the largest time there is where that is beyond it.
[[nodiscard]] int64_t VisibleFrom(int64_t event, int64_t known, int64_t delay);

// Brings entries into the order (visible, event, known, sequence, deleted, values), drops those whose event
// is below that of one before, of one visible time all but the last, and what is superseded as of `now`. What
// is left does not depend on the order in which rows came, nor on how often, if read at `now` or later.
void Merge(std::vector<Entry>& entries, const RowLayout& layout, int64_t now);

// As bytes, native order: count (4), per entry its four times (8 each), its row's size and whether it is
// deleted (4 each), then the rows. Overwrites `out`.
void EncodeEntries(std::span<const Entry> entries, std::vector<std::byte>& out);

// Appends what `value` holds to `entries`, rows pointing into it; false where it is damaged.
[[nodiscard]] bool DecodeEntries(std::span<const std::byte> value, const RowLayout& layout,
                                 std::vector<Entry>& entries);

// Sets `found` to the last entry visible at `now`; false where the value is damaged. Allocates nothing.
[[nodiscard]] bool FindVisible(std::span<const std::byte> value, const RowLayout& layout, int64_t now,
                               std::optional<Entry>& found);

}  // namespace falaj

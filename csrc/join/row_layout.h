// How the values of a row lie in memory and in the stores.
#pragma once

#include <span>
#include <vector>

#include "core/status.h"
#include "join/columns.h"

namespace falaj {

// A row: a bit per column, set where it is null; the columns in order, each of its type's size, zero where
// null, a BYTES as offset from the row's begin and length, 4 bytes each; then the characters. Immutable.
class RowLayout {
 public:
  struct Slot {
    DataType type;
    uint32_t offset;  // from the row's begin
    uint32_t size;
  };

  explicit RowLayout(std::span<const ColumnSpec> columns);

  std::span<const Slot> slots() const { return slots_; }

  // Appends row `row` of `columns` to `out`. Fails where it takes 1 GiB or more. REQUIRES: the layout's
  // types.
  Status Encode(std::span<const ColumnData> columns, size_t row, std::vector<std::byte>& out) const;

  // Whether `row` can be read by this layout without leaving it.
  [[nodiscard]] bool Fits(std::span<const std::byte> row) const;

  // The order of two rows by their columns, a null last, NaN after other numbers: DuckDB's, so that rows that
  // nothing else tells apart are taken alike offline and online. REQUIRES: both fit.
  [[nodiscard]] int Compare(std::span<const std::byte> a, std::span<const std::byte> b) const;

  static bool IsNull(std::span<const std::byte> row, size_t column) {
    return (row[column / 8] & (std::byte{1} << (column % 8))) != std::byte{0};
  }
  // REQUIRES: the slot is of BYTES; the row fits.
  static std::string_view Text(std::span<const std::byte> row, const Slot& slot);

 private:
  std::vector<Slot> slots_;
  std::vector<uint32_t> texts_;  // offsets of those of BYTES
  size_t fixed_bytes_;
};

}  // namespace falaj

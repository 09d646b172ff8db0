// What a look-up found: a status per entity, and the view's columns.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "join/row_layout.h"

namespace falaj {

enum class Presence : uint8_t { kMissing = 0, kExpired = 1, kPresent = 2 };

// Reused from one look-up to the next, it allocates only where more is found than ever before. Not
// thread-safe.
class FeatureColumns {
 public:
  // Makes room for `count` entities, all missing. `layout` must outlive the use.
  void Reset(const RowLayout& layout, size_t count);
  // REQUIRES: i < count; `row` fits the layout and stays as it is until Flush or Finish.
  void SetPresent(size_t i, std::span<const std::byte> row);
  // Copies the rows that are set and not copied yet.
  void Flush();
  void SetExpired(size_t i) { status_[i] = Presence::kExpired; }
  // To be called once all are set: only then the elements of BYTES can be read.
  void Finish();

  std::span<const Presence> status() const { return status_; }
  // Elements as a tensor holds them; zero, or an empty text, where null or not present. Valid until Reset.
  std::span<const std::byte> column(size_t column) const;
  // One byte per entity, 1 where the column is null or the entity not present.
  std::span<const uint8_t> nulls(size_t column) const { return {&nulls_[column * count_], count_}; }

 private:
  // Rows are copied some at a time, column by column: their elements of a column then share a cache line.
  static constexpr size_t kBlock = 16;

  struct PendingRow {
    size_t i;
    std::span<const std::byte> row;
  };
  struct PendingText {
    size_t at;      // of its string_view in data_
    size_t offset;  // in text_
    size_t length;
  };

  // What is pending of a column.
  void CopyColumn(size_t column);
  template <size_t kSize>
  void CopyElements(size_t column);  // none is null
  void CopyElement(size_t column, const PendingRow& pending);

  const RowLayout* layout_ = nullptr;
  size_t count_ = 0;
  std::vector<Presence> status_;
  std::vector<size_t> begins_;  // of the columns in data_
  std::vector<std::byte> data_;
  std::vector<uint8_t> nulls_;
  std::vector<char> text_;
  std::vector<PendingText> pending_texts_;
  std::array<PendingRow, kBlock> pending_rows_;
  size_t pending_count_ = 0;               // of them
  std::vector<std::byte> nulls_of_block_;  // the rows' bits, or-ed
};

}  // namespace falaj

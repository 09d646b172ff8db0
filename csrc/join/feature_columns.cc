#include "join/feature_columns.h"

#include <algorithm>
#include <cstring>

namespace falaj {

void FeatureColumns::Reset(const RowLayout& layout, size_t count) {
  constexpr size_t kAlignment = 16;
  layout_ = &layout;
  count_ = count;
  begins_.clear();
  size_t bytes = 0;
  for (const RowLayout::Slot& slot : layout.slots()) {
    begins_.push_back(bytes);
    bytes += (ElementSize(slot.type) * count + kAlignment - 1) / kAlignment * kAlignment;
  }
  status_.assign(count, Presence::kMissing);
  data_.assign(bytes, std::byte{0});
  nulls_.assign(layout.slots().size() * count, 0);
  text_.clear();
  pending_texts_.clear();
  pending_count_ = 0;
}

void FeatureColumns::SetPresent(size_t i, std::span<const std::byte> row) {
  status_[i] = Presence::kPresent;
  pending_rows_[pending_count_++] = {i, row};
  if (pending_count_ == kBlock) Flush();
}

void FeatureColumns::Flush() {
  if (pending_count_ == 0) return;
  const size_t columns = layout_->slots().size();
  nulls_of_block_.assign((columns + 7) / 8, std::byte{0});
  for (const PendingRow& pending : std::span(pending_rows_).first(pending_count_)) {
    for (size_t at = 0; at < nulls_of_block_.size(); ++at) nulls_of_block_[at] |= pending.row[at];
  }
  for (size_t column = 0; column < columns; ++column) CopyColumn(column);
  pending_count_ = 0;
}

void FeatureColumns::CopyColumn(size_t column) {
  const RowLayout::Slot& slot = layout_->slots()[column];
  if (slot.type != DataType::kBytes && !RowLayout::IsNull(nulls_of_block_, column)) {
    // Sizes as constants: moves instead of calls.
    if (slot.size == 4) return CopyElements<4>(column);
    if (slot.size == 8) return CopyElements<8>(column);
  }
  for (const PendingRow& pending : std::span(pending_rows_).first(pending_count_)) {
    CopyElement(column, pending);
  }
}

template <size_t kSize>
void FeatureColumns::CopyElements(size_t column) {
  std::byte* const to = &data_[begins_[column]];
  const size_t offset = layout_->slots()[column].offset;
  for (const PendingRow& pending : std::span(pending_rows_).first(pending_count_)) {
    std::memcpy(to + pending.i * kSize, pending.row.data() + offset, kSize);
  }
}

void FeatureColumns::CopyElement(size_t column, const PendingRow& pending) {
  const auto& [i, row] = pending;
  const RowLayout::Slot& slot = layout_->slots()[column];
  if (RowLayout::IsNull(row, column)) {
    nulls_[column * count_ + i] = 1;
  } else if (slot.type == DataType::kBytes) {
    const std::string_view text = RowLayout::Text(row, slot);
    pending_texts_.push_back({begins_[column] + i * sizeof(text), text_.size(), text.size()});
    text_.insert(text_.end(), text.begin(), text.end());
  } else {
    std::memcpy(&data_[begins_[column] + i * slot.size], &row[slot.offset], slot.size);
  }
}

void FeatureColumns::Finish() {
  Flush();
  for (size_t i = 0; i < count_; ++i) {
    if (status_[i] == Presence::kPresent) continue;
    for (size_t at = i; at < nulls_.size(); at += count_) nulls_[at] = 1;
  }
  for (const PendingText& pending : pending_texts_) {
    const std::string_view text(text_.data() + pending.offset, pending.length);
    std::memcpy(&data_[pending.at], &text, sizeof(text));
  }
}

std::span<const std::byte> FeatureColumns::column(size_t column) const {
  return {data_.data() + begins_[column], ElementSize(layout_->slots()[column].type) * count_};
}

}  // namespace falaj

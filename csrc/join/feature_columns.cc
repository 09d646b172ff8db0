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
  pending_.clear();
}

void FeatureColumns::SetPresent(size_t i, std::span<const std::byte> row) {
  status_[i] = Presence::kPresent;
  const auto slots = layout_->slots();
  for (size_t c = 0; c < slots.size(); ++c) {
    const RowLayout::Slot& slot = slots[c];
    if (RowLayout::IsNull(row, c)) {
      nulls_[c * count_ + i] = 1;
    } else if (slot.type == DataType::kBytes) {
      const std::string_view text = RowLayout::Text(row, slot);
      pending_.push_back({begins_[c] + i * sizeof(text), text_.size(), text.size()});
      text_.insert(text_.end(), text.begin(), text.end());
    } else if (slot.size == 4) {  // the usual size as a constant: one move instead of a call
      std::memcpy(&data_[begins_[c] + i * 4], &row[slot.offset], 4);
    } else {
      std::memcpy(&data_[begins_[c] + i * slot.size], &row[slot.offset], slot.size);
    }
  }
}

void FeatureColumns::Finish() {
  for (size_t i = 0; i < count_; ++i) {
    if (status_[i] == Presence::kPresent) continue;
    for (size_t at = i; at < nulls_.size(); at += count_) nulls_[at] = 1;
  }
  for (const PendingText& pending : pending_) {
    const std::string_view text(text_.data() + pending.offset, pending.length);
    std::memcpy(&data_[pending.at], &text, sizeof(text));
  }
}

std::span<const std::byte> FeatureColumns::column(size_t column) const {
  return {data_.data() + begins_[column], ElementSize(layout_->slots()[column].type) * count_};
}

}  // namespace falaj

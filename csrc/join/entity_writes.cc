#include "join/entity_writes.h"

#include <algorithm>
#include <numeric>

#include "join/entity_key.h"
#include "join/online_store.h"
#include "join/window_entity.h"

namespace falaj {

Result<std::unique_ptr<EntityWrites>> EntityWrites::Make(const WriteRows& rows, const ViewSpec& spec,
                                                         const RowLayout& layout) {
  FALAJ_RETURN_IF_ERROR(CheckRows(rows, spec));
  std::unique_ptr<EntityWrites> writes(new EntityWrites(rows, spec, layout));
  FALAJ_RETURN_IF_ERROR(writes->Order());
  return writes;
}

Status EntityWrites::Order() {
  keys_.resize(rows_.event.size());
  EntityKey key;
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (!key.Encode(rows_.keys, i)) {
      return InvalidInput(ViewName(spec_) + ", row " + std::to_string(i) + ": its key takes more than the " +
                          std::to_string(EntityKey::kMaxBytes) + " bytes that a key may");
    }
    keys_[i] = key.bytes();
  }
  order_.resize(keys_.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  std::sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return keys_[a] < keys_[b]; });
  for (size_t i = 0; i < order_.size(); ++i) {
    if (i == 0 || keys_[order_[i]] != keys_[order_[i - 1]]) begins_.push_back(i);
  }
  begins_.push_back(order_.size());
  return Status::Ok();
}

Status EntityWrites::Merge(size_t entity, const std::string_view* old, int64_t now) {
  const auto order = std::span(order_).subspan(begins_[entity], begins_[entity + 1] - begins_[entity]);
  if (spec_.windowed) return MergeInWindows(order, old, now);
  encoded_.clear();
  ends_.clear();
  entries_.clear();
  for (const size_t row : order) {
    if (rows_.deleted[row] == 0) FALAJ_RETURN_IF_ERROR(layout_.Encode(rows_.columns, row, encoded_));
    ends_.push_back(encoded_.size());
  }
  if (old != nullptr && !DecodeEntries(std::as_bytes(std::span(*old)), layout_, entries_)) {
    return DamagedEntity(spec_);
  }
  size_t begin = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t row = order[i], end = ends_[i];
    entries_.push_back({VisibleFrom(rows_.event[row], rows_.known[row], spec_.delay_us), rows_.event[row],
                        rows_.known[row], rows_.sequence[row], rows_.deleted[row] != 0,
                        std::span(encoded_).subspan(begin, end - begin)});
    begin = end;
  }
  falaj::Merge(entries_, layout_, now);
  EncodeEntries(entries_, value_);
  changed_ = old == nullptr || value() != *old;
  return Status::Ok();
}

Status EntityWrites::MergeInWindows(std::span<const size_t> order, const std::string_view* old, int64_t now) {
  auto merged = MergeWindows(old == nullptr ? std::nullopt : std::optional(*old), spec_, rows_, order, now);
  if (!merged.ok()) return merged.status();
  changed_ = merged->has_value();
  if (!changed_) return Status::Ok();
  const auto bytes = std::as_bytes(std::span(**merged));
  value_.assign(bytes.begin(), bytes.end());
  return Status::Ok();
}

}  // namespace falaj

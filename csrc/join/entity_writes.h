// The rows of one write, by their entities: what every store merges into what it has.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "join/columns.h"
#include "join/frontier.h"

namespace falaj {

// One thread at a time. What it was made of must outlive it.
class EntityWrites {
 public:
  // Fails where `rows` are not of the view, or a key is too long.
  static Result<std::unique_ptr<EntityWrites>> Make(const WriteRows& rows, const ViewSpec& spec,
                                                    const RowLayout& layout);

  // How many entities. They are in the order of their keys, each once.
  size_t size() const { return begins_.size() - 1; }
  std::string_view key(size_t entity) const { return keys_[order_[begins_[entity]]]; }

  // Merges the rows of an entity into `old`, what the store has of it (nullptr: nothing), as of `now`. Fails
  // where `old` is damaged.
  Status Merge(size_t entity, const std::string_view* old, int64_t now);
  // What the last Merge made of it, and whether that is not what `old` is.
  std::string_view value() const { return {reinterpret_cast<const char*>(value_.data()), value_.size()}; }
  bool changed() const { return changed_; }

 private:
  EntityWrites(const WriteRows& rows, const ViewSpec& spec, const RowLayout& layout)
      : rows_(rows), spec_(spec), layout_(layout) {}
  Status Order();
  // Of a view with aggregates (window_entity.h).
  Status MergeInWindows(std::span<const size_t> order, const std::string_view* old, int64_t now);

  const WriteRows rows_;
  const ViewSpec& spec_;
  const RowLayout& layout_;
  std::vector<std::string> keys_;  // of the rows
  std::vector<size_t> order_;      // rows by their keys
  std::vector<size_t> begins_;     // of the entities in order_, and its end
  // Reused from entity to entity.
  std::vector<std::byte> encoded_;  // the new rows
  std::vector<size_t> ends_;        // in encoded_
  std::vector<Entry> entries_;
  std::vector<std::byte> value_;
  bool changed_ = false;
};

}  // namespace falaj

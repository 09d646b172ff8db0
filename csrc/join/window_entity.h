// What a store keeps of an entity of a view with aggregates: the state of its windows, as bytes.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "join/columns.h"
#include "join/feature_columns.h"

namespace falaj {

// Of the values of an input.
join::Kind KindOf(DataType type);

// Fails, naming what is wrong, unless the windows of `spec` have its columns as results.
Status CheckWindows(const ViewSpec& spec);

// Sets entity `i` of `out` to what `value`, empty where nothing is stored, has as of `now`, or as of the last
// write where that was later. Fails where it is damaged, or where a sum of integers leaves 64 bits. Allocates
// only where a thread finds more than ever before. REQUIRES: spec.windowed; `layout` is of spec.columns
Status TakeWindows(std::string_view value, const ViewSpec& spec, const RowLayout& layout, int64_t now,
                   size_t i, FeatureColumns& out);

// Adds the rows `order` to `old` as of `now`. Returns the new value, or nothing where it is as it was: each
// row has the id of one that counts already. REQUIRES: spec.windowed; the rows are of the view
Result<std::optional<std::string>> MergeWindows(std::optional<std::string_view> old, const ViewSpec& spec,
                                                const WriteRows& rows, std::span<const size_t> order,
                                                int64_t now);

}  // namespace falaj

// Columns of keys and of feature values, as the online stores take and give them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/data_type.h"
#include "join/window_spec.h"

namespace falaj {

// A column of the caller's. Not owned.
struct ColumnData {
  DataType type;
  const std::byte* data;  // elements as a tensor holds them, without gaps; of BYTES string_views
  const uint8_t* nulls;   // one byte a row, not 0: null; nullptr: none is
};

struct ColumnSpec {
  std::string name;
  DataType type;
};

// Of a view with aggregates: what is written to it. What is read are its columns, one for each aggregate.
struct Windowed {
  std::vector<ColumnSpec> inputs;  // of the aggregates, and behind them, if `identified`, the events' ids
  bool identified = false;
  join::WindowSpec spec;  // of the inputs but the ids
};

// What a store has to know of a view.
struct ViewSpec {
  std::string name;
  uint32_t version = 1;
  std::string content_hash;  // of the definition; a store never holds two under one version
  std::vector<ColumnSpec> keys;
  std::vector<ColumnSpec> columns;
  int64_t delay_us = 0;
  std::optional<int64_t> ttl_us;
  std::optional<Windowed> windowed = std::nullopt;

  // The columns of what is written.
  const std::vector<ColumnSpec>& written() const { return windowed ? windowed->inputs : columns; }
};

// New rows of a view. All columns have as many rows as `event`. Not owned.
struct WriteRows {
  std::span<const ColumnData> keys;
  std::span<const int64_t> event;
  std::span<const int64_t> known;
  std::span<const int64_t> sequence;
  std::span<const uint8_t> deleted;
  std::span<const ColumnData> columns;
};

}  // namespace falaj

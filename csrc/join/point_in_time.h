// The point-in-time join over arrays: what was known of many entities at many times.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/status.h"

namespace falaj {

// Rows of a history; one element each, times in µs. Not owned.
struct HistoryRows {
  std::span<const int32_t> entity;    // below 0: nobody's
  std::span<const int64_t> event;     // from when on it is true
  std::span<const int64_t> known;     // when it arrived
  std::span<const int64_t> sequence;  // orders rows of the same two times; empty: nothing does
  std::span<const int64_t> place;     // orders those of the same sequence; empty: nothing does
  std::span<const uint8_t> deleted;   // not 0: the entity has nothing any more; empty: none is
};

// Rows of a spine. Not owned.
struct SpineRows {
  std::span<const int32_t> entity;  // below 0: nobody, who has nothing
  std::span<const int64_t> time;
};

struct JoinRules {
  int64_t delay_us = 0;
  std::optional<int64_t> ttl_us;
  int32_t entities = 0;  // all are below this
  unsigned threads = 1;  // at least 1
};

// Where answers go, one element for each row of the spine. Not owned.
struct JoinAnswers {
  std::span<int64_t> row;     // of the history where the status is present, else -1
  std::span<uint8_t> status;  // as Presence (feature_columns.h)
  std::span<uint8_t> late;    // 1: something newer was true by then, and not usable yet; else 0
};

// Answers each row of the spine with the newest row of its entity, by (event, known, sequence, place), with
// event <= time and known + delay <= time; it has expired where time - event > ttl. Of rows that all of these
// leave equal the last in the arrays is taken, whatever the number of threads.
//
// Returns, in no order, the rows that are equal so, where one of them could be an answer: the caller may know
// what tells them apart, and ask again with `place`.
//
// Takes O((rows + spine) log(rows of an entity)), 24 bytes a row, 16 a row of the spine and 8 an entity.
// Thread-safe; its threads have ended when it returns.
[[nodiscard]] Result<std::vector<uint32_t>> JoinPointInTime(const HistoryRows& history,
                                                            const SpineRows& spine, const JoinRules& rules,
                                                            JoinAnswers answers);

}  // namespace falaj

// What requests were served with: rows of keys and features, kept for a log of a share of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "core/mutex.h"
#include "join/join_plan.h"

namespace falaj {

// Rows one after the other, and of each its fields: an element as a tensor holds it, of BYTES its length in 4
// bytes and its characters. In this order: the request's id; the row's number in it (INT32); the time of the
// look-up (INT64, UTC µs); 1 where it was answered as stale (UINT8); the model's keys, each once; a
// ServedStatus for each view; for each feature a ServedAs and a value.
struct ServedRows {
  std::vector<std::byte> bytes;
  size_t count = 0;
};

// Presence (feature_columns.h), or: the store did not answer.
enum class ServedStatus : uint8_t { kMissing = 0, kExpired = 1, kPresent = 2, kStale = 3 };
enum class ServedAs : uint8_t {
  kValue = 0,
  kNull = 1,     // nothing was found, the value is zero
  kBrought = 2,  // by the request: the value is its own
};

// The public inputs of a plan that are keys, each once.
std::vector<size_t> KeyInputs(const JoinPlan& plan);
// The types of a row's fields.
std::vector<DataType> ServedFields(const JoinPlan& plan);

// A bounded buffer between the instances of one model version, which fill it, and one thread that empties it.
// Thread-safe but for what says otherwise.
class ServedLog {
 public:
  // `capacity`: bytes of rows that wait to be taken; memory is used as it fills, twice that at most.
  ServedLog(size_t capacity, uint32_t per_million) : capacity_(capacity), per_million_(per_million) {
    filling_.bytes.reserve(capacity);
    taken_.bytes.reserve(capacity);
  }

  // Set by the backend that is logged, before anything else happens.
  void SetFields(std::vector<DataType> fields) { fields_ = std::move(fields); }
  const std::vector<DataType>& fields() const { return fields_; }

  // Whether the next request is one of the share. `state`: the caller's own, not 0.
  [[nodiscard]] bool Samples(uint64_t& state) const {
    state ^= state << 13;  // xorshift64
    state ^= state >> 7;
    state ^= state << 17;
    return ((state >> 32) * 1'000'000) >> 32 < per_million_;
  }

  // All of the rows, or, where there is no room, none: then they are counted. Allocates nothing, and waits
  // for nothing but another copy like this one.
  void Append(const ServedRows& rows) EXCLUDES(mu_);

  // What was appended since the last call. Valid until the next; for one thread at a time.
  const ServedRows& Take() EXCLUDES(mu_);

  // Rows that found no room.
  uint64_t dropped() const EXCLUDES(mu_);

 private:
  const size_t capacity_;
  const uint32_t per_million_;
  std::vector<DataType> fields_;
  mutable Mutex mu_;
  ServedRows filling_ GUARDED_BY(mu_);
  uint64_t dropped_ GUARDED_BY(mu_) = 0;
  ServedRows taken_;  // of the thread that takes
};

// A batch as it was looked up.
struct ServedBatch {
  const BatchIo& io;
  const std::vector<FeatureColumns>& found;  // by view
  const std::vector<Status>& outages;        // by view
  AsOf looked_up_at;                         // each row
};

// Writes the requests of an instance's batches into a log. Keeps its memory. Not thread-safe.
class ServedRecorder {
 public:
  // Both must outlive it.
  ServedRecorder(const JoinPlan& plan, ServedLog& log);

  // Logs those requests of a batch that are of the share and are answered.
  void Record(const ServedBatch& batch);

 private:
  void AddRow(const ServedBatch& batch, const BatchMember& member, int32_t number);
  void AddFeature(const ServedBatch& batch, const BatchMember& member, size_t feature, size_t row);
  void Add(const void* bytes, size_t size);
  void AddText(std::string_view text);
  void AddElement(DataType type, const void* elements, size_t row);

  const JoinPlan& plan_;
  ServedLog& log_;
  const std::vector<size_t> keys_;
  uint64_t random_;
  ServedRows rows_;
};

}  // namespace falaj

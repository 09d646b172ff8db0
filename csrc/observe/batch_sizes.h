// What batches of each size have cost, for the protocol's batch statistics.
#pragma once

#include <cstdint>
#include <vector>

#include "observe/counter.h"

namespace falaj {

// The sum over batches of one size.
struct BatchSizeStats {
  uint64_t rows = 0;  // of all of them; rows / batches is the size
  uint64_t batches = 0;
  uint64_t assemble_ns = 0, run_ns = 0, deliver_ns = 0;
};

// One entry for each size up to the model's bound. Batches above it (a large request runs alone) share entry
// 0. Written by one instance of the model, read by anyone, as Counter.
class BatchSizes {
 public:
  static constexpr int64_t kMostSizes = 1024;  // 40 KiB an instance

  explicit BatchSizes(int64_t max_rows);

  void AddRun(uint64_t rows, uint64_t assemble_ns, uint64_t run_ns);
  // Of the batch of `rows` that ran last.
  void AddDelivery(uint64_t rows, uint64_t deliver_ns);
  // `sums` grows to as many entries as this has.
  void AddTo(std::vector<BatchSizeStats>& sums) const;

 private:
  struct Entry {
    Counter rows, batches, assemble_ns, run_ns, deliver_ns;
  };
  Entry& EntryOf(uint64_t rows) { return entries_[rows < entries_.size() ? rows : 0]; }

  std::vector<Entry> entries_;  // never resized: readers hold on to it
};

}  // namespace falaj

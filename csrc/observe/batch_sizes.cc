#include "observe/batch_sizes.h"

#include <algorithm>

namespace falaj {

BatchSizes::BatchSizes(int64_t max_rows)
    : entries_(static_cast<size_t>(std::clamp<int64_t>(max_rows, 1, kMostSizes)) + 1) {}

void BatchSizes::AddRun(uint64_t rows, uint64_t assemble_ns, uint64_t run_ns) {
  Entry& entry = EntryOf(rows);
  entry.rows.Add(rows);
  entry.batches.Add(1);
  entry.assemble_ns.Add(assemble_ns);
  entry.run_ns.Add(run_ns);
}

void BatchSizes::AddDelivery(uint64_t rows, uint64_t deliver_ns) { EntryOf(rows).deliver_ns.Add(deliver_ns); }

void BatchSizes::AddTo(std::vector<BatchSizeStats>& sums) const {
  if (sums.size() < entries_.size()) sums.resize(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) {
    sums[i].rows += entries_[i].rows.Get();
    sums[i].batches += entries_[i].batches.Get();
    sums[i].assemble_ns += entries_[i].assemble_ns.Get();
    sums[i].run_ns += entries_[i].run_ns.Get();
    sums[i].deliver_ns += entries_[i].deliver_ns.Get();
  }
}

}  // namespace falaj

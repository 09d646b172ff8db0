// The memory of one batch: a row-major block per fixed-shape input and output, max_batch rows high. Requests
// reserve rows in an open slab and write their tensors there, so that the batch needs no assembling.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "core/mutex.h"
#include "core/ref_counted.h"
#include "core/tensor.h"

namespace falaj {

class SlabPool;

// Shape of every slab of a model. Constant.
struct SlabLayout {
  struct Column {
    DataType type;
    Shape row;         // shape of one row, without the batch dimension
    size_t row_bytes;  // 0: not held in the slab (variable shape or BYTES)
    size_t offset;     // of row 0, from the start of the slab
  };
  std::vector<Column> inputs;
  std::vector<Column> outputs;
  int64_t rows = 0;
  size_t bytes = 0;
  bool all_inputs_fixed = false;

  // `rows` is the batch bound; 0 makes a layout that holds nothing (a model that cannot batch).
  static Result<SlabLayout> Make(std::span<const TensorSpec> inputs, std::span<const TensorSpec> outputs,
                                 int64_t rows);
};

// Held by the requests that have rows in it and by the batch that runs on it; goes back to its pool with the
// last of them. Rows are disjoint, so that several threads fill one slab without a lock.
class Slab : public RefCounted<Slab> {
 public:
  Slab(SlabPool* pool, const SlabLayout* layout) : pool_(pool), layout_(layout) {}

  // REQUIRES: the column is held in the slab and first_row + rows <= layout.rows
  TensorView Input(size_t i, int64_t first_row, int64_t rows) const {
    return View(layout_->inputs[i], first_row, rows);
  }
  TensorView Output(size_t i, int64_t first_row, int64_t rows) const {
    return View(layout_->outputs[i], first_row, rows);
  }

  // Whether Input(i, 0, rows) may be asked for.
  bool HoldsInput(size_t i, int64_t rows) const {
    return layout_->inputs[i].row_bytes > 0 && rows <= layout_->rows;
  }

  void OnLastUnref();

  // Rows reserved so far. Guarded by the batcher's mutex while the slab is open.
  int64_t reserved_rows = 0;
  // True while a batch runs on rows of this slab. Rows that a batch left behind may make another, on another
  // thread: it copies them rather than share what follows. Acquired and released by that batch.
  std::atomic<bool> running{false};
  // What a backend allocated for outputs of this batch. Owned by the thread that runs the batch until the
  // outputs are delivered.
  std::vector<std::shared_ptr<void>> owners;
  // Assembled variable-shape inputs, one buffer each; as `owners`.
  std::vector<Buffer> gathered;

 private:
  friend class SlabPool;
  TensorView View(const SlabLayout::Column& column, int64_t first_row, int64_t rows) const;

  SlabPool* const pool_;
  const SlabLayout* const layout_;
  Buffer memory_;
};

struct SlabLimits {
  size_t max_slabs;   // see SlabPool::Need
  size_t keep_free;   // of those not in use, so many keep their memory,
  size_t keep_bytes;  // or as many as have this much together, if that is more; and at most so much of
                      // `gathered`
};

// Thread-safe. Outlives its slabs (they are owned here). Lock order: after the batcher's mutex.
class SlabPool {
 public:
  SlabPool(SlabLayout layout, SlabLimits limits);

  enum class Need {
    kMay,   // for rows in place: refused when max_slabs are out, and the request holds its own memory
    kMust,  // for a batch that is about to run; their number is bounded by instances and unread answers
  };
  // Fails with kUnavailable.
  Result<RefPtr<Slab>> Get(Need need) EXCLUDES(mu_);
  const SlabLayout& layout() const { return layout_; }
  size_t allocated_bytes() const EXCLUDES(mu_);

 private:
  friend class Slab;
  void Return(Slab* slab) EXCLUDES(mu_);

  const SlabLayout layout_;
  const SlabLimits limits_;
  const size_t keep_free_;
  mutable Mutex mu_;
  std::vector<std::unique_ptr<Slab>> all_ GUARDED_BY(mu_);
  std::vector<Slab*> free_ GUARDED_BY(mu_);
  size_t with_memory_ GUARDED_BY(mu_) = 0;
  size_t gathered_bytes_ GUARDED_BY(mu_) = 0;  // of `gathered` of those in free_
};

}  // namespace falaj

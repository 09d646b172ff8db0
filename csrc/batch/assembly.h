// Turns the requests of a batch into the tensors of one run, and the run's outputs into their answers.
#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"
#include "batch/batcher_options.h"
#include "batch/request.h"
#include "batch/slab.h"

namespace falaj {

// Scratch of one instance, reused batch after batch. Not thread-safe.
class BatchAssembly {
 public:
  // `max_members`: the most requests a batch will have; room for them is made now.
  BatchAssembly(const BatcherOptions* options, size_t max_members) : options_(options) {
    inputs_.reserve(options->inputs.size());
    outputs_.reserve(options->outputs.size());
    first_rows_.reserve(max_members);
    if (options->tells_members) members_.reserve(max_members);
  }

  // Lays out the batch. Requests whose rows lie side by side in one slab are taken as they lie; a request
  // that is alone is run on its own memory; an input whose attached tensors lie one behind the other, as the
  // answers of one batch of another model do, is run there; all else is copied together, padded where the
  // model says so.
  // REQUIRES: members share a signature and have at most max_batch_rows rows.
  Status Assemble(std::span<Request* const> members, SlabPool& slabs);

  BatchIo io() { return {inputs_, outputs_, &slab_->owners, members_}; }

  // Whether two requests of equal signature hash really have the shapes of one batch.
  bool CanJoin(const Request& first, const Request& other) const;

  // Checks what the backend gave: every output has the batch's rows.
  Status CheckOutputs() const;

  // Gives `member` (the index-th of Assemble's members) its part of the outputs, and its share in the memory.
  // Fails with what the backend said of this member alone.
  Status Extract(size_t index, Request& member);

  // Drops this batch's hold on the memory.
  void Release() {
    EndRun();
    slab_ = RefPtr<Slab>();
  }

  int64_t rows() const { return rows_; }
  uint64_t elements() const { return elements_; }
  uint64_t padding_elements() const { return padding_elements_; }

 private:
  bool TakeInPlace(std::span<Request* const> members);
  void EndRun() {
    if (in_place_) slab_->running.store(false, std::memory_order_release);
    in_place_ = false;
  }
  void TellMembers(std::span<Request* const> members);
  void PlaceOutputs(const Request& member);
  static bool LieTogether(size_t source, std::span<Request* const> members);
  Status GatherInput(size_t backend_input, std::span<Request* const> members);
  Status GatherOptional(size_t backend_input, std::span<Request* const> members);
  Status GatherMask(size_t backend_input, std::span<Request* const> members);
  Status GatherPadded(size_t backend_input, std::span<Request* const> members);
  Result<TensorView> NewInput(size_t backend_input, DataType type, const Shape& shape);
  Status Unpad(Request& member, size_t output, TensorView whole, int64_t first_row);

  const BatcherOptions* const options_;
  std::vector<TensorView> inputs_;
  std::vector<TensorView> outputs_;
  std::vector<int64_t> first_rows_;  // of each member in the batch
  std::vector<BatchMember> members_;
  RefPtr<Slab> slab_;
  bool in_place_ = false;  // slab_->running is ours
  int64_t rows_ = 0;
  uint64_t elements_ = 0;
  uint64_t padding_elements_ = 0;
};

}  // namespace falaj

// The tensors of one infer request that lie in shared memory, from its header to its answer.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "batch/batcher.h"
#include "wire/infer_header.h"
#include "wire/json_encoder.h"
#include "wire/shared_memory.h"

namespace falaj::wire {

// Which tensors a client may reach while a model runs on them is decided here:
// 1. Floats, and integers of 8 and 16 bits, are attached where they lie, and a request that runs alone has
//    those written where they are wanted. What the client does with them meanwhile changes values, which may
//    be any anyway.
// 2. What a kernel may take for an index, a length or a count (integers of 32 and 64 bits, BOOL, BYTES) is
//    copied before it is looked at, and out when the run is over: checked once, it has to stay. So is all,
//    where SharedMemoryRules::copies says so.
// 3. So is all of a model that keeps answers, and of one with a flow, whose steps may keep theirs: what
//    is run must be what was looked up, and what is kept must be what the model answered, or a client has
//    others told what it likes.
// 4. Nothing is written beyond a place's size: an answer that is larger fails.
// Used by one thread at a time; the batch that runs sees only the memory, which lives as long as this does
// (Request holds it).
class SharedTensors {
 public:
  // Finds the regions of `header`'s places and checks them against `batcher`'s signature. `order` gives each
  // input's index of the signature. Fails with InvalidInput, with Unavailable where there is no room for
  // copies, and with Unsupported where `memory` is null.
  static Result<std::shared_ptr<SharedTensors>> Find(std::shared_ptr<SharedMemory> memory,
                                                     const Batcher& batcher, const InferHeader& header,
                                                     std::span<const int> order);
  explicit SharedTensors(std::shared_ptr<SharedMemory> memory) : memory_(std::move(memory)) {}
  ~SharedTensors() { memory_->GiveCopyRoom(copied_); }
  SharedTensors(const SharedTensors&) = delete;
  SharedTensors& operator=(const SharedTensors&) = delete;

  // Whether some are so large that they are better attached than copied into a batch's rows.
  bool attaches() const { return attaches_; }
  // Bytes of payload that Fill needs.
  size_t payload_bytes() const { return payload_bytes_; }

  // To be attached: `views`, by the signature, get the data of those that are; the others stay without.
  void View(std::span<TensorView> views) const;
  // Gives those without data memory that this object owns, and returns as many bytes more behind it.
  Result<std::byte*> Own(std::span<TensorView> views, size_t payload_bytes);
  // Copies those that are not attached into `views` (by the signature), and characters to `payload`. Fails
  // with InvalidInput.
  Status Fill(std::span<const TensorView> views, std::byte* payload) const;

  // Where the backend may write outputs, by the signature; see Request::output_places.
  void Place(std::vector<std::span<std::byte>>& places) const;

  // Writes what is not there yet into its place; `outputs` are those of the answer. Their `shared` is set,
  // and views this. Fails with InvalidInput where one is larger than its place, or a file was cut shorter.
  Status Finish(std::span<OutputTensor> outputs);

 private:
  struct Tensor {
    std::shared_ptr<const SharedRegion> region;
    SharedPlace place;  // its name is the region's own
    std::string_view name;
    int index = 0;  // of the signature
    DataType type = DataType::kFp32;
    bool attached = false;  // an input that is run where it lies, an output that may be written there
    std::byte* data = nullptr;
  };

  Status FindPlace(const std::string& where, const SharedPlace& wanted, Tensor& tensor) const;
  Status AddInput(const Batcher& batcher, const InputHeader& input, int index);
  Status AddOutput(const Batcher& batcher, const OutputRequest& output);
  Status DecideInputs(const Batcher& batcher);
  void DecideOutputs();
  Status CheckAfter() const;

  const std::shared_ptr<SharedMemory> memory_;  // it may be the last that uses it
  bool copies_ = false;                         // all tensors; constant after Find
  uint64_t copied_ = 0;                         // of its room for copies
  std::vector<Tensor> inputs_, outputs_;
  bool attaches_ = false;
  size_t payload_bytes_ = 0;  // of BYTES inputs
  size_t outputs_of_model_ = 0;
  Buffer own_;
};

}  // namespace falaj::wire

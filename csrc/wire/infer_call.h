// One infer request between its codec and the model, whatever transport it came by.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "route/model_table.h"
#include "wire/classification.h"
#include "wire/infer_header.h"
#include "wire/json_encoder.h"
#include "wire/shared_tensors.h"

namespace falaj::wire {

// That the model is not known, as Triton says it.
Status UnknownToTriton(std::string_view model, int64_t version);

// Reused from request to request. Its steps, in order:
//   Admit(...)            finds the model, checks names and data types, reserves rows
//   inputs(), payload()   the codec fills them
//   Enqueue()             then Host::FlushLater(batcher()), and the waiter of `tag` is called with the
//   request Take(request)         keeps the delivered request, picks the outputs that were asked for reply()
//   what is to be encoded
// Not thread-safe; one I/O thread's. Clear() between requests drops everything it holds.
class InferCall {
 public:
  // `version` 0: the served default. `header`'s views are not needed after this call. `deadline` is the
  // transport's own (gRPC); the request's timeout parameter and `default_timeout` (0: none) may only shorten
  // it. Tensors in shared memory are found in `shared_memory` (null: there is none), and inputs there are
  // filled. Fails with NotFound, InvalidInput, Unavailable, DeadlineExceeded, Unsupported.
  enum class Takes { kOneAnswer, kAnyNumber };
  Status Admit(const ModelTable& models, std::string_view model, int64_t version, const InferHeader& header,
               size_t payload_bytes, const std::shared_ptr<CompletionSink>& sink, uint64_t tag, TimePoint now,
               TimePoint deadline, Nanos default_timeout, Takes takes = Takes::kOneAnswer,
               const std::shared_ptr<SharedMemory>& shared_memory = nullptr);

  // In the order of the header's inputs. REQUIRES: Admit succeeded, Enqueue was not called
  std::span<const TensorView> inputs() const { return inputs_; }
  std::byte* payload() const { return payload_; }
  Batcher& batcher() const { return request_->batcher(); }

  // `trace`: where it stands in its trace; null: it is not sampled.
  void Enqueue(const TraceContext* trace = nullptr);
  // Withdraws it, if it is under way: its waiter is called with Cancelled, perhaps before this returns.
  void Cancel();

  // Fails with the request's own failure, or where a classification cannot be made. Of a request that is
  // answered several times, each part is taken, and then the request itself.
  Status Take(RefPtr<Request> request);
  // Views hold until Clear. `id` is the request's.
  InferReply reply() const;
  // What was taken is the end of answers that were given before, and has no outputs.
  bool is_last_of_many() const { return batcher().options().decoupled && !taken_->is_part(); }
  // Lets the part that was taken go, which lets its model go on.
  void DropPart();
  // Whether the client wants to be told of the end by an answer.
  bool empty_final() const { return empty_final_; }
  void Clear();

 private:
  struct Wanted {
    int index = 0;  // of the signature's outputs
    bool binary = false;
    int64_t classification = 0;
  };
  Status CheckInputs(const Batcher& batcher, const InferHeader& header);
  Status ChooseOutputs(const Batcher& batcher, const InferHeader& header);
  bool IsChosen(int output) const;
  Status Reserve(Batcher& batcher, size_t payload_bytes);
  Status ReserveShared(Batcher& batcher, size_t payload_bytes);
  Status TakeOutputs();
  void SetShapes(const Batcher& batcher, const InferHeader& header);
  bool IsGiven(size_t input) const;
  void TellFeatures(const Batcher& batcher, const InferHeader& header);

  std::string id_;
  bool empty_final_ = false;
  RequestSequence sequence_;         // scratch
  std::optional<ModelLease> lease_;  // until Enqueue
  RefPtr<Request> request_;
  RefPtr<Request> taken_;   // it, or one of its parts
  std::vector<int> order_;  // of the header's inputs in the signature
  std::vector<Shape> shapes_;
  std::vector<TensorView> inputs_;
  std::byte* payload_ = nullptr;
  std::shared_ptr<SharedTensors> shared_;  // null: none are; the request holds it too
  std::vector<Wanted> wanted_;
  std::vector<OutputTensor> outputs_;
  std::vector<Classes> classes_;  // of classified outputs, by position in wanted_
};

}  // namespace falaj::wire

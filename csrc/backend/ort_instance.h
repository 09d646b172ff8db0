// One execution context on a shared ONNX Runtime session.
#pragma once

#include <array>
#include <vector>

#include "backend/backend.h"
#include "backend/ort_types.h"

namespace falaj {

// Runs through I/O bindings over the batch's own buffers. A binding depends only on addresses and shapes, so
// those of recurring batches (the same slab, the same rows) are kept: a repeated run allocates nothing here.
class OrtInstance final : public Instance {
 public:
  // `session` and `signature` outlive the instance. `custom_operators`: whether the model may have some.
  OrtInstance(const OrtApi* api, OrtSession* session, const ModelSignature* signature, bool custom_operators);
  Status Init();

  Status Run(const BatchIo& io) override;

 private:
  struct Entry {
    std::vector<TensorView> views;  // inputs, then outputs: what the binding was made for
    OrtBindingPtr binding;
  };
  static constexpr size_t kEntries = 256;

  bool Cacheable(const BatchIo& io) const;
  Entry& Find(const BatchIo& io);
  Status Bind(const BatchIo& io, OrtBindingPtr& binding);
  Status RunBound(OrtIoBinding* binding);
  Status BindInput(OrtIoBinding* binding, size_t index, const TensorView& view);
  Status FetchOutputs(OrtIoBinding* binding, const BatchIo& io);
  Result<OrtValuePtr> NewValue(const TensorView& view);
  Result<OrtValuePtr> NewStrings(const TensorView& view);
  Status TakeOutput(OrtValuePtr value, TensorView& view, std::vector<std::shared_ptr<void>>& owners);
  Status TakeStrings(const OrtValue* value, TensorView& view, std::vector<std::shared_ptr<void>>& owners);

  const OrtApi* const api_;
  OrtSession* const session_;
  const ModelSignature* const signature_;
  const bool custom_operators_;
  OrtMemoryInfoPtr cpu_;
  OrtRunOptionsPtr run_options_;         // null: the defaults
  std::array<Entry, kEntries> entries_;  // direct-mapped by a hash of the addresses and the batch's rows
  Entry uncached_;
};

}  // namespace falaj

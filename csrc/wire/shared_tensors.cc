#include "wire/shared_tensors.h"

#include <algorithm>
#include <cstring>

#include "wire/binary_tensor.h"

namespace falaj::wire {
namespace {

// From here on tensors are run where they lie, as those of the engine's callers.
constexpr size_t kAttachBytes = 64 * 1024;
constexpr size_t kMostAttached = 64;  // Batcher::Attach takes so many inputs
constexpr size_t kAlign = 64;

size_t Aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

bool IsFloat(DataType type) {
  return type == DataType::kFp16 || type == DataType::kBf16 || type == DataType::kFp32 ||
         type == DataType::kFp64;
}

// What a kernel never takes for an index, a length or a count; aligned as its loads and stores want it.
bool MayLieThere(DataType type, const std::byte* data) {
  const bool harmless = IsFloat(type) || type == DataType::kInt8 || type == DataType::kUint8 ||
                        type == DataType::kInt16 || type == DataType::kUint16;
  return harmless && reinterpret_cast<uintptr_t>(data) % ElementSize(type) == 0;
}

std::string Where(const Batcher& batcher, const char* kind, std::string_view name) {
  return batcher.Name() + ", " + kind + " '" + std::string(name) + "': ";
}

}  // namespace

Status SharedTensors::FindPlace(const std::string& where, const SharedPlace& wanted, Tensor& tensor) const {
  auto region = memory_->Find(wanted.region);
  if (!region.ok()) return Status(region.status().code(), where + region.status().message());
  tensor.region = std::move(*region);
  tensor.place = wanted;
  tensor.place.region = tensor.region->name();
  const Status status = tensor.region->Check(wanted.offset, wanted.bytes);
  return status.ok() ? status : Status(status.code(), where + status.message());
}

Status SharedTensors::AddInput(const Batcher& batcher, const InputHeader& input, int index) {
  Tensor tensor;
  tensor.index = index;
  tensor.name = batcher.signature().inputs[static_cast<size_t>(index)].name;
  tensor.type = input.type;
  const std::string where = Where(batcher, "input", tensor.name);
  FALAJ_RETURN_IF_ERROR(FindPlace(where, *input.shared, tensor));
  // Never written to: the mapping is read-only.
  tensor.data = const_cast<std::byte*>(tensor.region->readable()) + input.shared->offset;
  const auto bytes = static_cast<size_t>(input.shared->bytes);
  if (input.type == DataType::kBytes) {
    if (bytes > static_cast<size_t>(batcher.options().max_request_bytes) - payload_bytes_) {
      return InvalidInput(where + "shared memory of " + std::to_string(bytes) +
                          " bytes passes the bound of " +
                          std::to_string(batcher.options().max_request_bytes) + " for one request");
    }
    payload_bytes_ += bytes;
  } else {
    const Status status =
        CheckBinarySize(std::span<const std::byte>(tensor.data, bytes), input.type, input.shape);
    if (!status.ok()) return InvalidInput(where + "shared_memory_byte_size: " + status.message());
    tensor.attached = !copies_ && MayLieThere(input.type, tensor.data);
  }
  inputs_.push_back(std::move(tensor));
  return Status::Ok();
}

Status SharedTensors::AddOutput(const Batcher& batcher, const OutputRequest& output) {
  Tensor tensor;
  tensor.index = batcher.signature().OutputIndex(output.name);
  const TensorSpec& spec = batcher.signature().outputs[static_cast<size_t>(tensor.index)];
  tensor.name = spec.name;
  tensor.type = spec.type;
  const std::string where = Where(batcher, "output", tensor.name);
  FALAJ_RETURN_IF_ERROR(FindPlace(where, *output.shared, tensor));
  auto data = tensor.region->Writable();
  if (!data.ok()) return Status(data.status().code(), where + data.status().message());
  tensor.data = *data + output.shared->offset;
  tensor.attached = !copies_ && output.classification == 0 && MayLieThere(tensor.type, tensor.data);
  outputs_.push_back(std::move(tensor));
  return Status::Ok();
}

Result<std::shared_ptr<SharedTensors>> SharedTensors::Find(std::shared_ptr<SharedMemory> memory,
                                                           const Batcher& batcher, const InferHeader& header,
                                                           std::span<const int> order) {
  if (memory == nullptr) {
    return Unsupported(batcher.Name() + ": shared memory is not supported here (--allow-shared-memory)");
  }
  auto found = std::make_shared<SharedTensors>(std::move(memory));
  found->copies_ = found->memory_->rules().copies || batcher.caches() || batcher.has_flow();
  for (size_t i = 0; i < header.inputs.size(); ++i) {
    if (!header.inputs[i].shared) continue;
    FALAJ_RETURN_IF_ERROR(found->AddInput(batcher, header.inputs[i], order[i]));
  }
  for (const OutputRequest& output : header.outputs) {
    if (output.shared) FALAJ_RETURN_IF_ERROR(found->AddOutput(batcher, output));
  }
  found->outputs_of_model_ = batcher.signature().outputs.size();
  FALAJ_RETURN_IF_ERROR(found->DecideInputs(batcher));
  found->DecideOutputs();
  return found;
}

Status SharedTensors::DecideInputs(const Batcher& batcher) {
  uint64_t attached = 0, copied = 0;
  for (const Tensor& input : inputs_) (input.attached ? attached : copied) += input.place.bytes;
  attaches_ = attached >= kAttachBytes && batcher.signature().inputs.size() <= kMostAttached;
  if (!attaches_) {
    for (Tensor& input : inputs_) input.attached = false;
    copied += attached;
  }
  FALAJ_RETURN_IF_ERROR(memory_->TakeCopyRoom(copied));
  copied_ = copied;
  return Status::Ok();
}

// An output over an input that is read at the same time would change what is read.
void SharedTensors::DecideOutputs() {
  for (Tensor& output : outputs_) {
    for (const Tensor& input : inputs_) {
      const bool overlaps = output.region->Overlaps(output.place.offset, output.place.bytes, *input.region,
                                                    input.place.offset, input.place.bytes);
      if (input.attached && overlaps) output.attached = false;
    }
  }
}

void SharedTensors::View(std::span<TensorView> views) const {
  for (const Tensor& input : inputs_) {
    if (input.attached) views[static_cast<size_t>(input.index)].data = input.data;
  }
}

Result<std::byte*> SharedTensors::Own(std::span<TensorView> views, size_t payload_bytes) {
  size_t bytes = 0;
  for (const TensorView& view : views) bytes += view.data == nullptr ? Aligned(view.bytes()) : 0;
  FALAJ_RETURN_IF_ERROR(own_.Reserve(bytes + payload_bytes));
  std::byte* next = own_.data();
  for (TensorView& view : views) {
    if (view.data != nullptr) continue;
    view.data = next;
    next += Aligned(view.bytes());
  }
  return next;
}

Status SharedTensors::Fill(std::span<const TensorView> views, std::byte* payload) const {
  for (const Tensor& input : inputs_) {
    if (input.attached) continue;
    const TensorView& view = views[static_cast<size_t>(input.index)];
    const auto bytes = static_cast<size_t>(input.place.bytes);
    std::byte* const to = view.type == DataType::kBytes ? payload : static_cast<std::byte*>(view.data);
    if (bytes > 0) std::memcpy(to, input.data, bytes);
    FALAJ_RETURN_IF_ERROR(input.region->CheckAfter(input.place.offset, input.place.bytes));
    if (view.type == DataType::kBytes) payload += bytes;
    const Status status = AdoptBinary(std::span<const std::byte>(to, bytes), view);
    if (!status.ok()) return InvalidInput("input '" + std::string(input.name) + "': " + status.message());
  }
  return Status::Ok();
}

void SharedTensors::Place(std::vector<std::span<std::byte>>& places) const {
  places.assign(outputs_of_model_, {});
  for (const Tensor& output : outputs_) {
    if (!output.attached) continue;
    places[static_cast<size_t>(output.index)] = {output.data, static_cast<size_t>(output.place.bytes)};
  }
}

Status SharedTensors::CheckAfter() const {
  for (const auto* tensors : {&inputs_, &outputs_}) {
    for (const Tensor& tensor : *tensors) {
      FALAJ_RETURN_IF_ERROR(tensor.region->CheckAfter(tensor.place.offset, tensor.place.bytes));
    }
  }
  return Status::Ok();
}

Status SharedTensors::Finish(std::span<OutputTensor> outputs) {
  const auto of = [&](const Tensor& tensor) {
    return std::find_if(outputs.begin(), outputs.end(),
                        [&](const OutputTensor& output) { return output.name == tensor.name; });
  };
  for (const Tensor& tensor : outputs_) {
    const size_t bytes = BinaryBytes(of(tensor)->view);
    if (bytes <= tensor.place.bytes) continue;
    return InvalidInput("shared memory size specified with the request for output '" +
                        std::string(tensor.name) + "' (" + std::to_string(tensor.place.bytes) +
                        " bytes) should be at least " + std::to_string(bytes) + " bytes to hold the results");
  }
  for (Tensor& tensor : outputs_) {
    const auto output = of(tensor);
    if (output->view.data != tensor.data) WriteBinary(output->view, tensor.data);
    tensor.place.bytes = BinaryBytes(output->view);
    output->shared = &tensor.place;
  }
  return CheckAfter();
}

}  // namespace falaj::wire

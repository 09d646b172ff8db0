#include "backend/ort_instance.h"

#include <cstring>
#include <string_view>

#include "backend/custom_operators.h"
#include "backend/ort_library.h"

namespace falaj {
namespace {

bool SameMemory(const TensorView& a, const TensorView& b) {
  return a.data == b.data && a.type == b.type && a.shape == b.shape;
}

// What the strings of one output live in.
struct StringOutput {
  std::vector<char> characters;
  std::vector<std::string_view> elements;
};

}  // namespace

OrtInstance::OrtInstance(const OrtApi* api, OrtSession* session, const ModelSignature* signature,
                         bool custom_operators)
    : api_(api), session_(session), signature_(signature), custom_operators_(custom_operators) {}

Status OrtInstance::Init() {
  OrtMemoryInfo* info = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &info));
  cpu_ = Own<OrtMemoryInfoPtr>(*api_, info);
  if (!custom_operators_) return Status::Ok();
  auto options = CustomOperatorsRunOptions(*api_);
  if (options.ok()) run_options_ = std::move(options.value());
  return options.status();
}

bool OrtInstance::Cacheable(const BatchIo& io) const {
  for (const TensorView& view : io.inputs) {
    if (view.type == DataType::kBytes) return false;
  }
  for (const TensorView& view : io.outputs) {
    if (view.data == nullptr) return false;  // ONNX Runtime would keep the previous run's output in it
  }
  return true;
}

OrtInstance::Entry& OrtInstance::Find(const BatchIo& io) {
  uint64_t hash = 0;
  for (const TensorView& view : io.inputs) {
    hash = (hash ^ reinterpret_cast<uintptr_t>(view.data)) * 0x9E3779B97F4A7C15u;
    if (view.shape.rank() > 0) hash += static_cast<uint64_t>(view.shape[0]) * 0xff51afd7ed558ccdu;
  }
  return entries_[(hash >> 40) % kEntries];
}

Status OrtInstance::Run(const BatchIo& io) {
  const bool cacheable = Cacheable(io);
  Entry& entry = cacheable ? Find(io) : uncached_;
  const size_t inputs = io.inputs.size();
  bool hit = cacheable && entry.binding != nullptr && entry.views.size() == inputs + io.outputs.size();
  for (size_t i = 0; hit && i < inputs; ++i) hit = SameMemory(entry.views[i], io.inputs[i]);
  for (size_t i = 0; hit && i < io.outputs.size(); ++i) {
    hit = SameMemory(entry.views[inputs + i], io.outputs[i]);
  }
  if (!hit) {
    entry.views.assign(io.inputs.begin(), io.inputs.end());
    entry.views.insert(entry.views.end(), io.outputs.begin(), io.outputs.end());
    if (Status status = Bind(io, entry.binding); !status.ok()) {
      entry.binding.reset();
      return status;
    }
  }
  if (Status status = RunBound(entry.binding.get()); !status.ok()) {
    (void)OrtLibrary::TakeLog();  // the same text again
    return status;
  }
  return cacheable ? Status::Ok() : FetchOutputs(entry.binding.get(), io);
}

Status OrtInstance::RunBound(OrtIoBinding* binding) {
  if (!custom_operators_) return FromOrt(*api_, api_->RunWithBinding(session_, nullptr, binding));
  const CustomOperatorsRun run;
  return run.Judge(FromOrt(*api_, api_->RunWithBinding(session_, run_options_.get(), binding)));
}

Status OrtInstance::Bind(const BatchIo& io, OrtBindingPtr& binding) {
  OrtIoBinding* raw = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->CreateIoBinding(session_, &raw));
  binding = Own<OrtBindingPtr>(*api_, raw);
  for (size_t i = 0; i < io.inputs.size(); ++i) {
    FALAJ_RETURN_IF_ERROR(BindInput(raw, i, io.inputs[i]));
  }
  for (size_t i = 0; i < io.outputs.size(); ++i) {
    const char* name = signature_->outputs[i].name.c_str();
    if (io.outputs[i].data == nullptr) {
      FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->BindOutputToDevice(raw, name, cpu_.get()));
      continue;
    }
    auto value = NewValue(io.outputs[i]);
    if (!value.ok()) return value.status();
    FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->BindOutput(raw, name, value->get()));
  }
  return Status::Ok();
}

Status OrtInstance::BindInput(OrtIoBinding* binding, size_t index, const TensorView& view) {
  auto value = view.type == DataType::kBytes ? NewStrings(view) : NewValue(view);
  if (!value.ok()) return value.status();
  return FromOrt(*api_, api_->BindInput(binding, signature_->inputs[index].name.c_str(), value->get()));
}

Result<OrtValuePtr> OrtInstance::NewValue(const TensorView& view) {
  static std::byte nothing[1];  // an empty tensor still wants an address
  OrtValue* value = nullptr;
  void* data = view.data != nullptr ? view.data : nothing;
  FALAJ_RETURN_IF_ORT_ERROR(
      *api_, api_->CreateTensorWithDataAsOrtValue(cpu_.get(), data, view.bytes(), view.shape.dims().data(),
                                                  view.shape.rank(), ToOrtType(view.type), &value));
  return Own<OrtValuePtr>(*api_, value);
}

Result<OrtValuePtr> OrtInstance::NewStrings(const TensorView& view) {
  OrtAllocator* allocator = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->GetAllocatorWithDefaultOptions(&allocator));
  OrtValue* raw = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(
      *api_, api_->CreateTensorAsOrtValue(allocator, view.shape.dims().data(), view.shape.rank(),
                                          ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, &raw));
  OrtValuePtr value = Own<OrtValuePtr>(*api_, raw);
  const auto* elements = static_cast<const std::string_view*>(view.data);
  for (size_t i = 0; i < static_cast<size_t>(view.elements()); ++i) {
    // FillStringTensor would stop at a NUL; a BYTES element may hold any byte.
    char* characters = nullptr;
    FALAJ_RETURN_IF_ORT_ERROR(
        *api_, api_->GetResizedStringTensorElementBuffer(raw, i, elements[i].size(), &characters));
    if (!elements[i].empty()) std::memcpy(characters, elements[i].data(), elements[i].size());
  }
  return value;
}

Status OrtInstance::FetchOutputs(OrtIoBinding* binding, const BatchIo& io) {
  OrtAllocator* allocator = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->GetAllocatorWithDefaultOptions(&allocator));
  OrtValue** values = nullptr;
  size_t count = 0;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->GetBoundOutputValues(binding, allocator, &values, &count));
  std::vector<OrtValuePtr> owned;
  owned.reserve(count);
  for (size_t i = 0; i < count; ++i) owned.push_back(Own<OrtValuePtr>(*api_, values[i]));
  if (OrtStatus* failed = api_->AllocatorFree(allocator, values)) api_->ReleaseStatus(failed);
  for (size_t i = 0; i < io.outputs.size(); ++i) {
    if (io.outputs[i].data == nullptr) {
      FALAJ_RETURN_IF_ERROR(TakeOutput(std::move(owned[i]), io.outputs[i], *io.owners));
    }
  }
  uncached_.binding.reset();  // or it would hold the outputs until the next batch
  return Status::Ok();
}

Status OrtInstance::TakeOutput(OrtValuePtr value, TensorView& view,
                               std::vector<std::shared_ptr<void>>& owners) {
  int is_tensor = 0;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->IsTensor(value.get(), &is_tensor));
  if (is_tensor == 0) return Unsupported("an output is not a tensor");
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->GetTensorTypeAndShape(value.get(), &raw));
  const OrtTensorInfoPtr info = Own<OrtTensorInfoPtr>(*api_, raw);
  size_t rank = 0;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->GetDimensionsCount(raw, &rank));
  if (rank > Shape::kMaxRank) return Unsupported("an output has more than 8 dimensions");
  std::array<int64_t, Shape::kMaxRank> dims{};
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->GetDimensions(raw, dims.data(), rank));
  view.shape = Shape(std::span<const int64_t>(dims.data(), rank));
  if (view.type == DataType::kBytes) return TakeStrings(value.get(), view, owners);
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->GetTensorMutableData(value.get(), &view.data));
  owners.push_back(std::shared_ptr<OrtValue>(std::move(value)));
  return Status::Ok();
}

Status OrtInstance::TakeStrings(const OrtValue* value, TensorView& view,
                                std::vector<std::shared_ptr<void>>& owners) {
  auto output = std::make_shared<StringOutput>();
  const auto count = static_cast<size_t>(view.elements());
  size_t bytes = 0;
  FALAJ_RETURN_IF_ORT_ERROR(*api_, api_->GetStringTensorDataLength(value, &bytes));
  output->characters.resize(bytes + 1);
  std::vector<size_t> offsets(count + 1, bytes);
  if (count > 0) {
    FALAJ_RETURN_IF_ORT_ERROR(
        *api_, api_->GetStringTensorContent(value, output->characters.data(), bytes, offsets.data(), count));
  }
  for (size_t i = 0; i < count; ++i) {
    output->elements.emplace_back(output->characters.data() + offsets[i], offsets[i + 1] - offsets[i]);
  }
  output->elements.emplace_back();  // so that an empty tensor has an address
  view.data = output->elements.data();
  owners.push_back(std::move(output));
  return Status::Ok();
}

}  // namespace falaj

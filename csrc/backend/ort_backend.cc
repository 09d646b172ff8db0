#include "backend/ort_backend.h"

#include <cstring>

#include "backend/custom_operators.h"
#include "backend/ort_instance.h"
#include "backend/ort_types.h"

namespace falaj {
namespace {

class OrtBackend final : public Backend {
 public:
  OrtBackend(const OrtLibrary* library, OrtSessionPtr session, std::string placement, bool custom_operators)
      : api_(library->api()),
        session_(std::move(session)),
        placement_(std::move(placement)),
        custom_operators_(custom_operators) {}

  Status ReadSignature();

  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    auto instance = std::make_unique<OrtInstance>(&api_, session_.get(), &signature_, custom_operators_);
    FALAJ_RETURN_IF_ERROR(instance->Init());
    return std::unique_ptr<Instance>(std::move(instance));
  }
  size_t MemoryUsed() const override;
  std::string Placement() const override { return placement_; }

 private:
  Result<TensorSpec> ReadSpec(bool input, size_t index, OrtAllocator* allocator) const;

  const OrtApi& api_;
  const OrtSessionPtr session_;
  const std::string placement_;
  const bool custom_operators_;
  ModelSignature signature_;
};

Result<TensorSpec> OrtBackend::ReadSpec(bool input, size_t index, OrtAllocator* allocator) const {
  TensorSpec spec;
  char* name = nullptr;
  OrtTypeInfo* raw = nullptr;
  const OrtSession* session = session_.get();
  FALAJ_RETURN_IF_ORT_ERROR(api_, input ? api_.SessionGetInputName(session, index, allocator, &name)
                                        : api_.SessionGetOutputName(session, index, allocator, &name));
  spec.name = name;
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.AllocatorFree(allocator, name));
  FALAJ_RETURN_IF_ORT_ERROR(api_, input ? api_.SessionGetInputTypeInfo(session, index, &raw)
                                        : api_.SessionGetOutputTypeInfo(session, index, &raw));
  const OrtTypeInfoPtr type_info = Own<OrtTypeInfoPtr>(api_, raw);
  const OrtTensorTypeAndShapeInfo* info = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.CastTypeInfoToTensorInfo(raw, &info));
  const std::string what = std::string(input ? "input" : "output") + " '" + spec.name + "'";
  if (info == nullptr) {
    return Unsupported(what + ": expected a tensor, the model has a sequence, map or optional");
  }
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.GetTensorElementType(info, &type));
  const auto ours = FromOrtType(type);
  if (!ours) return Unsupported(what + ": its element type has no name in the protocol");
  spec.type = *ours;
  size_t rank = 0;
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.GetDimensionsCount(info, &rank));
  if (rank > Shape::kMaxRank) return Unsupported(what + ": more than 8 dimensions");
  spec.shape.resize(rank);
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.GetDimensions(info, spec.shape.data(), rank));
  std::vector<const char*> symbols(rank);
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.GetSymbolicDimensions(info, symbols.data(), rank));
  for (size_t i = 0; i < rank; ++i) spec.symbols.emplace_back(symbols[i] != nullptr ? symbols[i] : "");
  return spec;
}

Status OrtBackend::ReadSignature() {
  OrtAllocator* allocator = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.GetAllocatorWithDefaultOptions(&allocator));
  size_t inputs = 0;
  size_t outputs = 0;
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.SessionGetInputCount(session_.get(), &inputs));
  FALAJ_RETURN_IF_ORT_ERROR(api_, api_.SessionGetOutputCount(session_.get(), &outputs));
  for (size_t i = 0; i < inputs + outputs; ++i) {
    const bool input = i < inputs;
    auto spec = ReadSpec(input, input ? i : i - inputs, allocator);
    if (!spec.ok()) return spec.status();
    (input ? signature_.inputs : signature_.outputs).push_back(std::move(spec.value()));
  }
  return Status::Ok();
}

// What the session's CPU arena has handed out, which is the weights and what runs keep.
size_t OrtBackend::MemoryUsed() const {
  OrtMemoryInfo* info = nullptr;
  OrtAllocator* allocator = nullptr;
  OrtKeyValuePairs* stats = nullptr;
  size_t bytes = 0;
  if (FromOrt(api_, api_.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &info)).ok()) {
    const OrtMemoryInfoPtr owned = Own<OrtMemoryInfoPtr>(api_, info);
    if (FromOrt(api_, api_.CreateAllocator(session_.get(), info, &allocator)).ok()) {
      if (FromOrt(api_, api_.AllocatorGetStats(allocator, &stats)).ok()) {
        const char* in_use = api_.GetKeyValue(stats, "InUse");
        if (in_use != nullptr) bytes = std::strtoull(in_use, nullptr, 10);
        api_.ReleaseKeyValuePairs(stats);
      }
      api_.ReleaseAllocator(allocator);
    }
  }
  return bytes;
}

Result<GraphOptimizationLevel> Optimization(const std::string& name) {
  if (name == "disable") return ORT_DISABLE_ALL;
  if (name == "basic") return ORT_ENABLE_BASIC;
  if (name == "extended") return ORT_ENABLE_EXTENDED;
  if (name == "all") return ORT_ENABLE_ALL;
  return InvalidInput("graph_optimization: expected disable, basic, extended or all, got '" + name + "'");
}

Status AppendProvider(const OrtApi& api, OrtSessionOptions* session, const OrtOptions::Provider& provider) {
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : provider.options) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  if (provider.name == "CUDAExecutionProvider") {
    OrtCUDAProviderOptionsV2* cuda = nullptr;
    FALAJ_RETURN_IF_ORT_ERROR(api, api.CreateCUDAProviderOptions(&cuda));
    Status status =
        FromOrt(api, api.UpdateCUDAProviderOptions(cuda, keys.data(), values.data(), keys.size()));
    if (status.ok()) {
      status = FromOrt(api, api.SessionOptionsAppendExecutionProvider_CUDA_V2(session, cuda));
    }
    api.ReleaseCUDAProviderOptions(cuda);
    return status;
  }
  if (provider.name == "TensorrtExecutionProvider") {
    OrtTensorRTProviderOptionsV2* trt = nullptr;
    FALAJ_RETURN_IF_ORT_ERROR(api, api.CreateTensorRTProviderOptions(&trt));
    Status status =
        FromOrt(api, api.UpdateTensorRTProviderOptions(trt, keys.data(), values.data(), keys.size()));
    if (status.ok()) {
      status = FromOrt(api, api.SessionOptionsAppendExecutionProvider_TensorRT_V2(session, trt));
    }
    api.ReleaseTensorRTProviderOptions(trt);
    return status;
  }
  // The generic call knows the others by their name without the suffix.
  std::string name = provider.name;
  constexpr const char* kSuffix = "ExecutionProvider";
  if (name.size() > std::strlen(kSuffix) && name.ends_with(kSuffix))
    name.resize(name.size() - std::strlen(kSuffix));
  return FromOrt(api, api.SessionOptionsAppendExecutionProvider(session, name.c_str(), keys.data(),
                                                                values.data(), keys.size()));
}

Result<OrtSessionOptionsPtr> BaseOptions(const OrtLibrary* library, const OrtOptions& options) {
  const OrtApi& api = library->api();
  OrtSessionOptions* raw = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(api, api.CreateSessionOptions(&raw));
  OrtSessionOptionsPtr session = Own<OrtSessionOptionsPtr>(api, raw);
  auto level = Optimization(options.optimization);
  if (!level.ok()) return level.status();
  FALAJ_RETURN_IF_ORT_ERROR(api, api.SetSessionGraphOptimizationLevel(raw, level.value()));
  FALAJ_RETURN_IF_ORT_ERROR(api, api.SetIntraOpNumThreads(raw, options.intra_op_threads));
  FALAJ_RETURN_IF_ORT_ERROR(api, api.SetInterOpNumThreads(raw, 1));
  // Idle threads sleep unless the model's own configuration says otherwise.
  FALAJ_RETURN_IF_ORT_ERROR(api, api.AddSessionConfigEntry(raw, "session.intra_op.allow_spinning", "0"));
  FALAJ_RETURN_IF_ORT_ERROR(api, api.AddSessionConfigEntry(raw, "session.inter_op.allow_spinning", "0"));
  if (!options.custom_operators.empty()) {
    FALAJ_RETURN_IF_ERROR(AddCustomOperators(library, options.custom_operators, raw));
  }
  for (const auto& [key, value] : options.session) {
    FALAJ_RETURN_IF_ORT_ERROR(api, api.AddSessionConfigEntry(raw, key.c_str(), value.c_str()));
  }
  return session;
}

Result<OrtSessionPtr> NewSession(const OrtLibrary* library, const std::string& path,
                                 OrtSessionOptions* options) {
  OrtSession* session = nullptr;
  const OrtApi& api = library->api();
  const CustomOperatorsRun run;  // constants may be folded through them
  FALAJ_RETURN_IF_ORT_ERROR(api, api.CreateSession(library->env(), path.c_str(), options, &session));
  return Own<OrtSessionPtr>(api, session);
}

}  // namespace

Result<std::unique_ptr<Backend>> LoadOrtBackend(const OrtLibrary* library, const std::string& path,
                                                const OrtOptions& options,
                                                std::vector<std::string>* fallbacks) {
  const OrtApi& api = library->api();
  auto session_options = BaseOptions(library, options);
  if (!session_options.ok()) return session_options.status();
  std::string placement;
  for (const auto& provider : options.providers) {
    if (provider.name == "CPUExecutionProvider") break;  // what follows the CPU is never asked
    (void)OrtLibrary::TakeLog();
    Status status = AppendProvider(api, session_options->get(), provider);
    if (status.ok()) {
      placement += provider.name + ",";
    } else {
      fallbacks->push_back(provider.name + " is not available, the next provider is used: " +
                           status.message() + "; " + OrtLibrary::TakeLog());
    }
  }
  auto session = NewSession(library, path, session_options->get());
  if (!session.ok() && !placement.empty()) {
    fallbacks->push_back(placement +
                         " could not run this model, the CPU is used: " + session.status().message());
    placement.clear();
    session_options = BaseOptions(library, options);
    if (!session_options.ok()) return session_options.status();
    session = NewSession(library, path, session_options->get());
  }
  if (!session.ok()) {
    const Status status = session.status();
    const Code code = status.code() == Code::kInternal ? Code::kInvalidInput : status.code();
    return Status(code, "ONNX Runtime could not load '" + path + "': " + status.message());
  }
  auto backend =
      std::make_unique<OrtBackend>(library, std::move(session.value()), placement + "CPUExecutionProvider",
                                   !options.custom_operators.empty());
  FALAJ_RETURN_IF_ERROR(backend->ReadSignature());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace falaj

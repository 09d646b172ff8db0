// Handles of ONNX Runtime's C API with owners, and the mapping of its element types.
#pragma once

#include <onnxruntime_c_api.h>

#include <memory>
#include <optional>

#include "core/data_type.h"
#include "core/status.h"

namespace falaj {

// Calls the API's own Release function for T.
template <typename T, void (*OrtApi::*Release)(T*)>
struct OrtReleaser {
  const OrtApi* api = nullptr;
  void operator()(T* object) const { (api->*Release)(object); }
};

template <typename T, void (*OrtApi::*Release)(T*)>
using OrtHandle = std::unique_ptr<T, OrtReleaser<T, Release>>;

using OrtSessionPtr = OrtHandle<OrtSession, &OrtApi::ReleaseSession>;
using OrtSessionOptionsPtr = OrtHandle<OrtSessionOptions, &OrtApi::ReleaseSessionOptions>;
using OrtValuePtr = OrtHandle<OrtValue, &OrtApi::ReleaseValue>;
using OrtBindingPtr = OrtHandle<OrtIoBinding, &OrtApi::ReleaseIoBinding>;
using OrtRunOptionsPtr = OrtHandle<OrtRunOptions, &OrtApi::ReleaseRunOptions>;
using OrtMemoryInfoPtr = OrtHandle<OrtMemoryInfo, &OrtApi::ReleaseMemoryInfo>;
using OrtTypeInfoPtr = OrtHandle<OrtTypeInfo, &OrtApi::ReleaseTypeInfo>;
using OrtTensorInfoPtr = OrtHandle<OrtTensorTypeAndShapeInfo, &OrtApi::ReleaseTensorTypeAndShapeInfo>;

// Gives `raw` its owner.
template <typename Handle, typename T>
Handle Own(const OrtApi& api, T* raw) {
  return Handle(raw, typename Handle::deleter_type{&api});
}

// Takes over `status` (null is success); its text becomes ours under `code`.
Status FromOrt(const OrtApi& api, OrtStatus* status, Code code = Code::kInternal);

std::optional<DataType> FromOrtType(ONNXTensorElementDataType type);
ONNXTensorElementDataType ToOrtType(DataType type);

}  // namespace falaj

#define FALAJ_RETURN_IF_ORT_ERROR(api, expr) FALAJ_RETURN_IF_ERROR(::falaj::FromOrt((api), (expr)))

#include "backend/ort_types.h"

#include <array>

namespace falaj {
namespace {

struct Pair {
  DataType ours;
  ONNXTensorElementDataType theirs;
};

constexpr std::array<Pair, 14> kTypes = {{
    {DataType::kBool, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL},
    {DataType::kUint8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    {DataType::kUint16, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16},
    {DataType::kUint32, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32},
    {DataType::kUint64, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64},
    {DataType::kInt8, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8},
    {DataType::kInt16, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16},
    {DataType::kInt32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {DataType::kInt64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
    {DataType::kFp16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
    {DataType::kBf16, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16},
    {DataType::kFp32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {DataType::kFp64, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE},
    {DataType::kBytes, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING},
}};

}  // namespace

Status FromOrt(const OrtApi& api, OrtStatus* status, Code code) {
  if (status == nullptr) return Status::Ok();
  std::string message = api.GetErrorMessage(status);
  if (code == Code::kInternal) {
    switch (api.GetErrorCode(status)) {
      case ORT_INVALID_ARGUMENT:
        code = Code::kInvalidInput;
        break;
      case ORT_NOT_IMPLEMENTED:
        code = Code::kUnsupported;
        break;
      default:
        break;
    }
  }
  api.ReleaseStatus(status);
  return {code, std::move(message)};
}

std::optional<DataType> FromOrtType(ONNXTensorElementDataType type) {
  for (const Pair& pair : kTypes) {
    if (pair.theirs == type) return pair.ours;
  }
  return std::nullopt;
}

ONNXTensorElementDataType ToOrtType(DataType type) {
  for (const Pair& pair : kTypes) {
    if (pair.ours == type) return pair.theirs;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

}  // namespace falaj

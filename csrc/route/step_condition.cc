#include "route/step_condition.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/half.h"

namespace falaj {
namespace {

template <typename T>
double At(const TensorView& view, int64_t index) {
  return static_cast<double>(static_cast<const T*>(view.data)[index]);
}

// REQUIRES: not BYTES
double Number(const TensorView& view, int64_t index) {
  switch (view.type) {
    case DataType::kBool:
    case DataType::kUint8:
      return At<uint8_t>(view, index);
    case DataType::kUint16:
      return At<uint16_t>(view, index);
    case DataType::kUint32:
      return At<uint32_t>(view, index);
    case DataType::kUint64:
      return At<uint64_t>(view, index);
    case DataType::kInt8:
      return At<int8_t>(view, index);
    case DataType::kInt16:
      return At<int16_t>(view, index);
    case DataType::kInt32:
      return At<int32_t>(view, index);
    case DataType::kInt64:
      return At<int64_t>(view, index);
    case DataType::kFp16:
      return FloatOfHalf(static_cast<const uint16_t*>(view.data)[index]);
    case DataType::kBf16:
      return FloatOfBrain(static_cast<const uint16_t*>(view.data)[index]);
    case DataType::kFp32:
      return At<float>(view, index);
    case DataType::kFp64:
      return At<double>(view, index);
    case DataType::kBytes:
      break;
  }
  return std::nan("");
}

std::string Text(double number) {
  std::string text = std::to_string(number);
  if (text.find('.') != std::string::npos) text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

}  // namespace

Result<bool> Holds(const StepCondition& condition, const TensorView& scalar) {
  const int64_t elements = scalar.elements();
  if (elements == 0) return InvalidInput("a request without rows takes no branch");
  const double value = Number(scalar, 0);
  for (int64_t i = 1; i < elements; ++i) {
    const double other = Number(scalar, i);
    if (other == value || (std::isnan(other) && std::isnan(value))) continue;
    return InvalidInput("a request takes a branch as a whole and its rows differ: " + Text(value) +
                        " in row 0, " + Text(other) + " in row " + std::to_string(i) +
                        "; send such rows as requests of their own");
  }
  const auto& values = condition.values;
  const bool is_in = std::find(values.begin(), values.end(), value) != values.end();
  switch (condition.kind) {
    case StepCondition::Kind::kIn:
      return is_in;
    case StepCondition::Kind::kNotIn:
      return !is_in;
    case StepCondition::Kind::kBelow:
      return value < values[0];
    case StepCondition::Kind::kAtLeast:
      return value >= values[0];
  }
  return false;
}

}  // namespace falaj

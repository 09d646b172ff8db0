// The keys of an infer request in JSON that have a meaning of their own, as bits of a set.
#pragma once

#include <string_view>

namespace falaj::wire {

enum InputField : unsigned { kOther = 0, kName = 1, kShape = 2, kType = 4, kParameters = 8, kData = 16 };

inline InputField InputFieldOf(std::string_view key) {
  if (key == "name") return kName;
  if (key == "shape") return kShape;
  if (key == "datatype") return kType;
  if (key == "parameters") return kParameters;
  return key == "data" ? kData : kOther;
}

enum RequestField : unsigned { kNone = 0, kId = 1, kRequestParameters = 2, kInputs = 4, kOutputs = 8 };

inline RequestField RequestFieldOf(std::string_view key) {
  if (key == "id") return kId;
  if (key == "parameters") return kRequestParameters;
  if (key == "inputs") return kInputs;
  return key == "outputs" ? kOutputs : kNone;
}

}  // namespace falaj::wire

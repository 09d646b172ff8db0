// Any bytes as the numbers of a tensor: what is read straight from the text (wire/json_numbers.h) is what the
// walk by simdjson reads (wire/json_data.h), bit for bit.
#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "wire/json_data.h"
#include "wire/json_numbers.h"

namespace {

using falaj::DataType;
using falaj::Shape;
using falaj::TensorView;
using namespace falaj::wire;

constexpr int kDepth = 6;
constexpr DataType kTypes[] = {DataType::kUint8, DataType::kUint16, DataType::kUint32, DataType::kUint64,
                               DataType::kInt8,  DataType::kInt16,  DataType::kInt32,  DataType::kInt64,
                               DataType::kFp16,  DataType::kBf16,   DataType::kFp32,   DataType::kFp64};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  // Without spaces around it, as simdjson hands it over.
  std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto commas = static_cast<int64_t>(std::count(text.begin(), text.end(), ','));
  const Shape shape{commas + 1 - (text.find("[]") == std::string::npos ? 0 : 1)};
  const DataType type = kTypes[data[0] % std::size(kTypes)];
  const size_t bytes = static_cast<size_t>(shape[0]) * falaj::ElementSize(type);
  // Of the exact size, so that AddressSanitizer sees a write behind it.
  const auto quick = std::make_unique<std::byte[]>(bytes);
  const auto slow = std::make_unique<std::byte[]>(bytes);

  simdjson::padded_string padded(text);
  if (!ReadJsonNumbers({padded.data(), padded.size()}, TensorView{type, shape, quick.get()}, kDepth))
    return 0;

  static simdjson::ondemand::parser parser;
  simdjson::ondemand::document document;
  simdjson::ondemand::value value;
  if (parser.iterate(padded).get(document) || document.get_value().get(value)) std::abort();
  std::byte* payload = nullptr;
  const falaj::Status status =
      ReadJsonData(value, TensorView{type, shape, slow.get()}, kDepth, JsonPath("data"), payload);
  if (!status.ok() || std::memcmp(quick.get(), slow.get(), bytes) != 0) std::abort();
  return 0;
}

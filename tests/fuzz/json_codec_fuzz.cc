// Any bytes as a request: never a crash, and what is accepted comes back the same when it is encoded and
// decoded again, as JSON and as binary tensors (wire/json_decoder.h, wire/json_encoder.h).
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "wire/json_decoder.h"
#include "wire/json_encoder.h"

namespace {

using falaj::DataType;
using falaj::TensorView;
using namespace falaj::wire;

constexpr size_t kMostBytes = 1 << 16;

struct Decoded {
  std::vector<std::string> names;
  std::vector<std::unique_ptr<std::byte[]>> memory;
  std::vector<TensorView> views;
  std::vector<std::byte> payload;
};

// False where the request is refused, or too large to be tried here.
bool Decode(JsonDecoder& decoder, const std::string& json, const std::string& blobs, Decoded& decoded) {
  // A copy of the exact size, so that AddressSanitizer sees a read past the padding.
  const size_t size = json.size() + JsonDecoder::kPadding;
  const auto padded = std::make_unique<char[]>(size);
  std::memcpy(padded.get(), json.data(), json.size());
  if (!decoder.Parse({padded.get(), json.size()}, std::as_bytes(std::span(blobs))).ok()) return false;
  bool shared = false;
  for (const InputHeader& input : decoder.header().inputs) {
    TensorView view{input.type, input.shape, nullptr};
    shared = shared || input.shared.has_value();
    if (input.shared) {  // neither checked nor written here
      decoded.views.push_back(view);
      continue;
    }
    if (view.elements() > static_cast<int64_t>(kMostBytes)) return false;
    decoded.memory.push_back(std::make_unique<std::byte[]>(view.bytes()));
    view.data = decoded.memory.back().get();
    decoded.views.push_back(view);
    decoded.names.emplace_back(input.name);
  }
  decoded.payload.resize(decoder.PayloadBytes() + 1);
  return decoder.Fill(decoded.views, decoded.payload.data()).ok() && !shared;
}

bool Same(const TensorView& a, const TensorView& b) {
  if (a.type != b.type || !(a.shape == b.shape)) return false;
  if (a.type != DataType::kBytes) return a.bytes() == 0 || std::memcmp(a.data, b.data, a.bytes()) == 0;
  const auto* left = static_cast<const std::string_view*>(a.data);
  const auto* right = static_cast<const std::string_view*>(b.data);
  return std::equal(left, left + a.elements(), right);
}

// Binary tensors may hold any NaN, and JSON has one; and strings that JSON cannot carry.
bool InJson(const std::string& json) { return json.find("binary_data_size") == std::string::npos; }

void ExpectRoundTrip(JsonDecoder& decoder, const Decoded& first, bool binary) {
  std::vector<OutputTensor> outputs;
  for (size_t i = 0; i < first.views.size(); ++i) outputs.push_back({first.names[i], first.views[i], binary});
  std::string reply;
  auto encoded = EncodeReply({"m", 1, "", outputs}, reply);
  if (!encoded.ok()) std::abort();
  const size_t at = reply.find("\"outputs\":[");
  reply.replace(at, 11, "\"inputs\":[");
  const size_t json_bytes = encoded.value().json_bytes - 1;
  Decoded second;
  if (!Decode(decoder, reply.substr(0, json_bytes), reply.substr(json_bytes), second)) std::abort();
  if (second.names != first.names) std::abort();
  for (size_t i = 0; i < first.views.size(); ++i) {
    if (!Same(first.views[i], second.views[i])) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t blob_bytes = std::min<size_t>(data[0], size - 1);
  const auto* text = reinterpret_cast<const char*>(data + 1);
  const std::string json(text, size - 1 - blob_bytes);
  const std::string blobs(text + json.size(), blob_bytes);
  static JsonDecoder decoder({.max_tensors = 16, .max_depth = 16, .max_name_bytes = 64});
  Decoded first;
  if (!Decode(decoder, json, blobs, first)) return 0;
  ExpectRoundTrip(decoder, first, /*binary=*/true);
  if (InJson(json)) ExpectRoundTrip(decoder, first, /*binary=*/false);
  return 0;
}

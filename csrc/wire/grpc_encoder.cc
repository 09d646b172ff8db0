#include "wire/grpc_encoder.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>

#include "wire/binary_tensor.h"
#include "wire/protobuf_reader.h"
#include "wire/shared_parameters.h"
#include "wire/utf8.h"

namespace falaj::wire {
namespace {

// ModelInferResponse. All tags below fit one byte.
constexpr uint32_t kModelName = TagOf(1, WireType::kBytes);
constexpr uint32_t kModelVersion = TagOf(2, WireType::kBytes);
constexpr uint32_t kId = TagOf(3, WireType::kBytes);
constexpr uint32_t kParameters = TagOf(4, WireType::kBytes);
constexpr uint32_t kOutputs = TagOf(5, WireType::kBytes);
constexpr uint32_t kRawOutputContents = TagOf(6, WireType::kBytes);
// InferOutputTensor
constexpr uint32_t kOutputName = TagOf(1, WireType::kBytes);
constexpr uint32_t kOutputType = TagOf(2, WireType::kBytes);
constexpr uint32_t kOutputShape = TagOf(3, WireType::kBytes);
constexpr uint32_t kOutputParameters = TagOf(4, WireType::kBytes);
// An entry of a map of parameters, and InferParameter
constexpr uint32_t kEntryKey = TagOf(1, WireType::kBytes);
constexpr uint32_t kEntryValue = TagOf(2, WireType::kBytes);
constexpr uint32_t kInt64Param = TagOf(2, WireType::kVarint);
constexpr uint32_t kStringParam = TagOf(3, WireType::kBytes);
// ModelStreamInferResponse
constexpr uint32_t kErrorMessage = TagOf(1, WireType::kBytes);
constexpr uint32_t kInferResponse = TagOf(2, WireType::kBytes);

// An entry of the map of parameters: the key, and an InferParameter whose bool_param is true.
constexpr std::string_view kFeaturesStale =
    "\x0a\x0e"
    "features_stale"
    "\x12\x02\x08\x01";
// The same with `false` and `true`; a bool of a oneof is written even where it is false.
constexpr std::string_view kNotFinal(
    "\x0a\x15"
    "triton_final_response"
    "\x12\x02\x08\x00",
    27);
constexpr std::string_view kFinal(
    "\x0a\x15"
    "triton_final_response"
    "\x12\x02\x08\x01",
    27);

constexpr size_t kTagBytes = 1;
constexpr size_t kMostVarintBytes = 10;

constexpr size_t VarintBytes(uint64_t value) {
  return (static_cast<size_t>(std::bit_width(value | 1)) + 6) / 7;
}

size_t FieldBytes(size_t content) { return kTagBytes + VarintBytes(content) + content; }

// proto3 leaves empty strings out.
size_t TextBytes(std::string_view text) { return text.empty() ? 0 : FieldBytes(text.size()); }

char* WriteVarint(uint64_t value, char* to) {
  for (; value >= 0x80; value >>= 7) *to++ = static_cast<char>(value | 0x80);
  *to++ = static_cast<char>(value);
  return to;
}

void AppendHead(uint32_t tag, size_t content, std::string& out) {
  char bytes[kTagBytes + kMostVarintBytes];
  bytes[0] = static_cast<char>(tag);
  out.append(bytes, static_cast<size_t>(WriteVarint(content, bytes + kTagBytes) - bytes));
}

void AppendText(uint32_t tag, std::string_view text, std::string& out) {
  if (text.empty()) return;
  AppendHead(tag, text.size(), out);
  out.append(text);
}

// A model's version in digits.
class VersionText {
 public:
  explicit VersionText(int64_t version)
      : end_(std::to_chars(digits_.data(), digits_.data() + digits_.size(), version).ptr) {}
  VersionText(const VersionText&) = delete;
  VersionText& operator=(const VersionText&) = delete;
  std::string_view text() const { return {digits_.data(), static_cast<size_t>(end_ - digits_.data())}; }

 private:
  std::array<char, std::numeric_limits<int64_t>::digits10 + 2> digits_{};
  const char* end_;
};

size_t ShapeBytes(const Shape& shape) {
  size_t bytes = 0;
  for (const int64_t size : shape.dims()) bytes += VarintBytes(static_cast<uint64_t>(size));
  return bytes;
}

size_t CountBytes(uint64_t count) { return kTagBytes + VarintBytes(count); }
size_t EntryBytes(std::string_view key, size_t value) { return FieldBytes(key.size()) + FieldBytes(value); }

// Of the parameters that say where an output lies in shared memory.
size_t SharedBytes(const SharedPlace& place) {
  return FieldBytes(EntryBytes(SharedParameters::kRegion, FieldBytes(place.region.size()))) +
         FieldBytes(EntryBytes(SharedParameters::kOffset, CountBytes(place.offset))) +
         FieldBytes(EntryBytes(SharedParameters::kBytes, CountBytes(place.bytes)));
}

// Of an InferOutputTensor, given the bytes of its dimensions.
size_t OutputBytes(const OutputTensor& output, size_t shape) {
  return TextBytes(output.name) + TextBytes(DataTypeName(output.view.type)) +
         (shape > 0 ? FieldBytes(shape) : 0) + (output.shared != nullptr ? SharedBytes(*output.shared) : 0);
}

// Of an output's element of raw_output_contents.
size_t RawBytes(const OutputTensor& output) {
  return output.shared != nullptr ? 0 : BinaryBytes(output.view);
}

// Of all that stands before raw_output_contents.
size_t HeadBytes(const InferReply& reply, std::string_view version) {
  size_t bytes = TextBytes(reply.model_name) + TextBytes(version) + TextBytes(reply.id);
  if (reply.features_stale) bytes += FieldBytes(kFeaturesStale.size());
  if (reply.final_response) bytes += FieldBytes(kFinal.size());
  for (const OutputTensor& output : reply.outputs) {
    bytes += FieldBytes(OutputBytes(output, ShapeBytes(output.view.shape)));
  }
  return bytes;
}

// Of raw_output_contents.
size_t ContentsBytes(const InferReply& reply) {
  size_t bytes = 0;
  for (const OutputTensor& output : reply.outputs) bytes += FieldBytes(RawBytes(output));
  return bytes;
}

// The functions below write where the memory is there, and return what is behind it.

char* WriteFieldHead(uint32_t tag, size_t content, char* to) {
  *to++ = static_cast<char>(tag);
  return WriteVarint(content, to);
}

char* WriteText(uint32_t tag, std::string_view text, char* to) {
  if (text.empty()) return to;
  to = WriteFieldHead(tag, text.size(), to);
  std::memcpy(to, text.data(), text.size());
  return to + text.size();
}

char* WriteEntryHead(std::string_view key, size_t value, char* to) {
  to = WriteFieldHead(kOutputParameters, EntryBytes(key, value), to);
  to = WriteText(kEntryKey, key, to);
  return WriteFieldHead(kEntryValue, value, to);
}

char* WriteCountEntry(std::string_view key, uint64_t count, char* to) {
  to = WriteEntryHead(key, CountBytes(count), to);
  *to++ = static_cast<char>(kInt64Param);
  return WriteVarint(count, to);
}

char* WriteShared(const SharedPlace& place, char* to) {
  to = WriteEntryHead(SharedParameters::kRegion, FieldBytes(place.region.size()), to);
  to = WriteText(kStringParam, place.region, to);
  to = WriteCountEntry(SharedParameters::kOffset, place.offset, to);
  return WriteCountEntry(SharedParameters::kBytes, place.bytes, to);
}

char* WriteOutput(const OutputTensor& output, char* to) {
  const size_t shape = ShapeBytes(output.view.shape);
  to = WriteFieldHead(kOutputs, OutputBytes(output, shape), to);
  to = WriteText(kOutputName, output.name, to);
  to = WriteText(kOutputType, DataTypeName(output.view.type), to);
  if (shape > 0) to = WriteFieldHead(kOutputShape, shape, to);
  for (const int64_t size : output.view.shape.dims()) to = WriteVarint(static_cast<uint64_t>(size), to);
  return output.shared != nullptr ? WriteShared(*output.shared, to) : to;
}

// `bytes`: InferResponseBytes. Piece by piece would cost several times as much; the contents may be large,
// and are not written twice.
void AppendReserved(const InferReply& reply, size_t bytes, std::string& out) {
  const VersionText version(reply.model_version);
  const size_t begin = out.size();
  out.resize(begin + bytes - ContentsBytes(reply));
  char* to = out.data() + begin;
  to = WriteText(kModelName, reply.model_name, to);
  to = WriteText(kModelVersion, version.text(), to);
  to = WriteText(kId, reply.id, to);
  if (reply.features_stale) to = WriteText(kParameters, kFeaturesStale, to);
  if (reply.final_response) to = WriteText(kParameters, *reply.final_response ? kFinal : kNotFinal, to);
  for (const OutputTensor& output : reply.outputs) to = WriteOutput(output, to);
  for (const OutputTensor& output : reply.outputs) {
    AppendHead(kRawOutputContents, RawBytes(output), out);
    if (output.shared == nullptr) AppendBinary(output.view, out);
  }
}

}  // namespace

size_t InferResponseBytes(const InferReply& reply) {
  return HeadBytes(reply, VersionText(reply.model_version).text()) + ContentsBytes(reply);
}

void AppendInferResponse(const InferReply& reply, size_t bytes, std::string& out) {
  out.reserve(out.size() + bytes);
  AppendReserved(reply, bytes, out);
}

void AppendStreamResponse(const InferReply& reply, size_t bytes, std::string& out) {
  out.reserve(out.size() + FieldBytes(bytes));
  AppendHead(kInferResponse, bytes, out);
  AppendReserved(reply, bytes, out);
}

void AppendStreamError(std::string_view message, std::string_view id, std::string& out) {
  std::string shown;
  if (!IsUtf8(message)) {
    shown = message;
    for (char& c : shown) {
      if ((c & 0x80) != 0) c = '?';
    }
    message = shown;
  }
  out.reserve(out.size() + TextBytes(message) + FieldBytes(TextBytes(id)));
  AppendText(kErrorMessage, message, out);
  AppendHead(kInferResponse, TextBytes(id), out);
  AppendText(kId, id, out);
}

}  // namespace falaj::wire

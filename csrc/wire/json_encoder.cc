#include "wire/json_encoder.h"

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <charconv>
#include <cmath>

#include "core/half.h"
#include "wire/binary_tensor.h"

namespace falaj::wire {
namespace {

// The longest number is a double such as -2.2250738585072014e-308.
constexpr size_t kLongest = 32;
constexpr size_t kBlock = 4096;

// Numbers with commas between, written block by block.
class NumberWriter {
 public:
  explicit NumberWriter(std::string& out) : out_(out) {}
  ~NumberWriter() { out_.append(block_, used_); }
  NumberWriter(const NumberWriter&) = delete;
  NumberWriter& operator=(const NumberWriter&) = delete;

  template <typename T>
  void Add(T value) {
    Next();
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(value))
        return Word(std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
    }
    used_ = static_cast<size_t>(std::to_chars(block_ + used_, block_ + kBlock, value).ptr - block_);
  }
  void AddBool(bool value) {
    Next();
    Word(value ? "true" : "false");
  }

 private:
  void Next() {
    if (used_ + kLongest > kBlock) {
      out_.append(block_, used_);
      used_ = 0;
    }
    if (!first_) block_[used_++] = ',';
    first_ = false;
  }
  void Word(std::string_view word) { used_ += word.copy(block_ + used_, word.size()); }

  std::string& out_;
  char block_[kBlock];
  size_t used_ = 0;
  bool first_ = true;
};

template <typename T, auto Convert>
void AppendNumbers(const TensorView& view, std::string& out) {
  NumberWriter writer(out);
  const auto* from = static_cast<const T*>(view.data);
  for (int64_t i = 0; i < view.elements(); ++i) writer.Add(Convert(from[i]));
}

template <typename T>
T Itself(T value) {
  return value;
}

void AppendBools(const TensorView& view, std::string& out) {
  NumberWriter writer(out);
  const auto* from = static_cast<const uint8_t*>(view.data);
  for (int64_t i = 0; i < view.elements(); ++i) writer.AddBool(from[i] != 0);
}

Status AppendStrings(const TensorView& view, std::string& out) {
  const auto* from = static_cast<const std::string_view*>(view.data);
  for (int64_t i = 0; i < view.elements(); ++i) {
    if (!simdjson::validate_utf8(from[i].data(), from[i].size())) {
      return InvalidInput("element " + std::to_string(i) +
                          " is not UTF-8, which JSON has to be; ask for it with the parameter binary_data");
    }
    if (i > 0) out.push_back(',');
    AppendJsonString(from[i], out);
  }
  return Status::Ok();
}

Status AppendData(const TensorView& view, std::string& out) {
  switch (view.type) {
    case DataType::kBool:
      AppendBools(view, out);
      return Status::Ok();
    case DataType::kUint8:
      AppendNumbers<uint8_t, Itself<uint8_t>>(view, out);
      return Status::Ok();
    case DataType::kUint16:
      AppendNumbers<uint16_t, Itself<uint16_t>>(view, out);
      return Status::Ok();
    case DataType::kUint32:
      AppendNumbers<uint32_t, Itself<uint32_t>>(view, out);
      return Status::Ok();
    case DataType::kUint64:
      AppendNumbers<uint64_t, Itself<uint64_t>>(view, out);
      return Status::Ok();
    case DataType::kInt8:
      AppendNumbers<int8_t, Itself<int8_t>>(view, out);
      return Status::Ok();
    case DataType::kInt16:
      AppendNumbers<int16_t, Itself<int16_t>>(view, out);
      return Status::Ok();
    case DataType::kInt32:
      AppendNumbers<int32_t, Itself<int32_t>>(view, out);
      return Status::Ok();
    case DataType::kInt64:
      AppendNumbers<int64_t, Itself<int64_t>>(view, out);
      return Status::Ok();
    case DataType::kFp16:
      AppendNumbers<uint16_t, FloatOfHalf>(view, out);
      return Status::Ok();
    case DataType::kBf16:
      AppendNumbers<uint16_t, FloatOfBrain>(view, out);
      return Status::Ok();
    case DataType::kFp32:
      AppendNumbers<float, Itself<float>>(view, out);
      return Status::Ok();
    case DataType::kFp64:
      AppendNumbers<double, Itself<double>>(view, out);
      return Status::Ok();
    case DataType::kBytes:
      return AppendStrings(view, out);
  }
  return Internal("a data type without a name");
}

// Whether its data follows the JSON.
bool IsAppended(const OutputTensor& output) { return output.binary && output.shared == nullptr; }

Status AppendOutput(const OutputTensor& output, std::string& out) {
  out.append("{\"name\":");
  AppendJsonString(output.name, out);
  out.append(",\"datatype\":\"").append(DataTypeName(output.view.type)).append("\",\"shape\":[");
  {
    NumberWriter writer(out);
    for (const int64_t size : output.view.shape.dims()) writer.Add(size);
  }
  if (output.shared != nullptr) {
    out.append("],\"parameters\":{\"shared_memory_region\":");
    AppendJsonString(output.shared->region, out);
    out.append(",\"shared_memory_offset\":").append(std::to_string(output.shared->offset));
    out.append(",\"shared_memory_byte_size\":").append(std::to_string(output.shared->bytes)).append("}}");
    return Status::Ok();
  }
  if (output.binary) {
    out.append("],\"parameters\":{\"binary_data_size\":").append(std::to_string(BinaryBytes(output.view)));
    out.append("}}");
    return Status::Ok();
  }
  out.append("],\"data\":[");
  if (Status status = AppendData(output.view, out); !status.ok()) {
    return Status(status.code(), "output '" + std::string(output.name) + "': " + status.message());
  }
  out.append("]}");
  return Status::Ok();
}

}  // namespace

void AppendJsonString(std::string_view text, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  size_t copied = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text.substr(copied, i - copied));
    copied = i + 1;
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(text[i]);
    } else {
      out.append("\\u00");
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
    }
  }
  out.append(text.substr(copied));
  out.push_back('"');
}

Result<Encoded> EncodeReply(const InferReply& reply, std::string& out) {
  const size_t start = out.size();
  out.append("{\"model_name\":");
  AppendJsonString(reply.model_name, out);
  out.append(",\"model_version\":\"").append(std::to_string(reply.model_version)).append("\"");
  if (!reply.id.empty()) {
    out.append(",\"id\":");
    AppendJsonString(reply.id, out);
  }
  if (reply.features_stale) out.append(",\"parameters\":{\"features_stale\":true}");
  out.append(",\"outputs\":[");
  Encoded encoded;
  for (size_t i = 0; i < reply.outputs.size(); ++i) {
    if (i > 0) out.push_back(',');
    if (Status status = AppendOutput(reply.outputs[i], out); !status.ok()) {
      out.resize(start);
      return status;
    }
    encoded.binary = encoded.binary || IsAppended(reply.outputs[i]);
  }
  out.append("]}");
  encoded.json_bytes = out.size() - start;
  for (const OutputTensor& output : reply.outputs) {
    if (IsAppended(output)) AppendBinary(output.view, out);
  }
  return encoded;
}

}  // namespace falaj::wire

#include "wire/classification.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <type_traits>

#include "core/half.h"

namespace falaj::wire {
namespace {

template <typename T>
void Append(T value, std::string& out) {
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  out.append(text.data(), end);
}

template <typename T>
bool Higher(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return !std::isnan(a) && std::isnan(b);
  }
  return a > b;
}

template <typename T, typename Read>
void ClassifyRows(int64_t rows, int64_t per_row, int64_t count, std::span<const std::string> labels,
                  const Read& read, Classes& out) {
  std::vector<T> scores(static_cast<size_t>(per_row));
  std::vector<size_t> order(scores.size());
  for (int64_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < scores.size(); ++i) scores[i] = read(row * per_row + static_cast<int64_t>(i));
    std::iota(order.begin(), order.end(), size_t{0});
    const auto top = order.begin() + count;
    std::partial_sort(order.begin(), top, order.end(), [&](size_t a, size_t b) {
      if (Higher(scores[a], scores[b])) return true;
      return !Higher(scores[b], scores[a]) && a < b;
    });
    for (auto index = order.begin(); index != top; ++index) {
      std::string& text = out.texts.emplace_back();
      Append(scores[*index], text);
      text += ':';
      Append(*index, text);
      if (*index < labels.size()) text.append(":").append(labels[*index]);
    }
  }
}

}  // namespace

Status Classify(const TensorView& scores, bool batched, int64_t count, std::span<const std::string> labels,
                Classes& out) {
  out.texts.clear();
  const bool by_row = batched && scores.shape.rank() > 0;
  const int64_t rows = by_row ? scores.shape[0] : 1;
  const int64_t per_row = scores.shape.Elements(by_row ? 1 : 0).value_or(0);
  count = std::min(count, per_row);
  const auto run = [&]<typename T>(T) {
    const auto* data = static_cast<const T*>(scores.data);
    ClassifyRows<T>(
        rows, per_row, count, labels, [&](int64_t i) { return data[i]; }, out);
  };
  const auto run_half = [&](auto widen) {
    const auto* data = static_cast<const uint16_t*>(scores.data);
    ClassifyRows<float>(
        rows, per_row, count, labels, [&](int64_t i) { return widen(data[i]); }, out);
  };
  switch (scores.type) {
    case DataType::kFp32:
      run(float{});
      break;
    case DataType::kFp64:
      run(double{});
      break;
    case DataType::kFp16:
      run_half(FloatOfHalf);
      break;
    case DataType::kBf16:
      run_half(FloatOfBrain);
      break;
    case DataType::kInt8:
      run(int8_t{});
      break;
    case DataType::kInt16:
      run(int16_t{});
      break;
    case DataType::kInt32:
      run(int32_t{});
      break;
    case DataType::kInt64:
      run(int64_t{});
      break;
    case DataType::kBool:
    case DataType::kUint8:
      run(uint8_t{});
      break;
    case DataType::kUint16:
      run(uint16_t{});
      break;
    case DataType::kUint32:
      run(uint32_t{});
      break;
    case DataType::kUint64:
      run(uint64_t{});
      break;
    case DataType::kBytes:
      return InvalidInput("classification wants an output of numbers, and this one is BYTES");
  }
  out.elements.assign(out.texts.begin(), out.texts.end());
  out.view = {DataType::kBytes, by_row ? Shape{rows, count} : Shape{count}, out.elements.data()};
  return Status::Ok();
}

}  // namespace falaj::wire

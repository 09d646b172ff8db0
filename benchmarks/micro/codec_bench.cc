// The wire codecs without a wire: JSON and binary tensors in and out.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "wire/binary_tensor.h"
#include "wire/json_decoder.h"
#include "wire/json_encoder.h"

namespace {

using falaj::DataType;
using falaj::Shape;
using falaj::TensorView;
using namespace falaj::wire;

std::vector<float> RandomFloats(int64_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// A request of one row, with the padding that the decoder needs; `binary`: its data follows the JSON.
std::string Request(const std::vector<float>& values, bool binary, size_t& json_bytes) {
  const TensorView view{DataType::kFp32, Shape{1, static_cast<int64_t>(values.size())},
                        const_cast<float*>(values.data())};
  const OutputTensor output{"x", view, binary};
  std::string body;
  json_bytes = EncodeReply({"m", 1, "", std::span(&output, 1)}, body).value().json_bytes - 1;
  body.replace(body.find("\"outputs\":["), 11, "\"inputs\":[");
  return body;
}

void DecodeRequest(benchmark::State& state, bool binary) {
  const std::vector<float> values = RandomFloats(state.range(0));
  size_t json_bytes = 0;
  std::string body = Request(values, binary, json_bytes);
  const size_t size = body.size();
  body.append(JsonDecoder::kPadding, ' ');
  std::vector<float> row(values.size());
  JsonDecoder decoder;
  for (auto _ : state) {
    const auto blobs = std::as_bytes(std::span(body)).subspan(json_bytes, size - json_bytes);
    if (!decoder.Parse(std::string_view(body).substr(0, json_bytes), blobs).ok()) std::abort();
    const TensorView view{DataType::kFp32, decoder.header().inputs[0].shape, row.data()};
    if (!decoder.Fill(std::span(&view, 1), nullptr).ok()) std::abort();
  }
  if (row != values) std::abort();
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(size));
}
BENCHMARK_CAPTURE(DecodeRequest, json, false)->Arg(32)->Arg(1'000'000);
BENCHMARK_CAPTURE(DecodeRequest, binary, true)->Arg(32)->Arg(1'000'000);

void EncodeAnswer(benchmark::State& state, bool binary) {
  const std::vector<float> values = RandomFloats(state.range(0));
  size_t json_bytes = 0;
  std::string body;
  for (auto _ : state) {
    body = Request(values, binary, json_bytes);
    benchmark::DoNotOptimize(body.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(body.size()));
}
BENCHMARK_CAPTURE(EncodeAnswer, json, false)->Arg(2)->Arg(1'000'000);
BENCHMARK_CAPTURE(EncodeAnswer, binary, true)->Arg(2)->Arg(1'000'000);

}  // namespace

// The gRPC codec without a wire: what codec_bench.cc measures of JSON, of protobuf messages.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "wire/grpc_decoder.h"
#include "wire/grpc_encoder.h"

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

void AppendField(char tag, const std::string& content, std::string& out) {
  out.push_back(tag);
  for (size_t size = content.size(); true; size >>= 7) {
    out.push_back(static_cast<char>(size < 0x80 ? size : size | 0x80));
    if (size < 0x80) break;
  }
  out.append(content);
}

// A ModelInferRequest of one row; `typed`: in fp32_contents rather than raw.
std::string Request(const std::vector<float>& values, bool typed) {
  const std::string data(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  std::string shape = "\1", input, contents, request;
  size_t size = values.size();
  for (; size >= 0x80; size >>= 7) shape.push_back(static_cast<char>(size | 0x80));
  shape.push_back(static_cast<char>(size));
  AppendField('\x0a', "x", input);
  AppendField('\x12', "FP32", input);
  AppendField('\x1a', shape, input);
  AppendField('\x32', data, contents);
  if (typed) AppendField('\x2a', contents, input);
  AppendField('\x0a', "model", request);
  AppendField('\x1a', "1", request);
  AppendField('\x2a', input, request);
  AppendField('\x32', "\x0a\1y", request);
  if (!typed) AppendField('\x3a', data, request);
  return request;
}

void DecodeGrpcRequest(benchmark::State& state, bool typed) {
  const std::vector<float> values = RandomFloats(state.range(0));
  const std::string message = Request(values, typed);
  std::vector<float> row(values.size());
  GrpcDecoder decoder;
  for (auto _ : state) {
    if (!decoder.Parse(std::as_bytes(std::span(message))).ok()) std::abort();
    const TensorView view{DataType::kFp32, decoder.header().inputs[0].shape, row.data()};
    if (!decoder.Fill(std::span(&view, 1), nullptr).ok()) std::abort();
    benchmark::DoNotOptimize(row.data());
  }
  if (row != values) std::abort();
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(message.size()));
}
BENCHMARK_CAPTURE(DecodeGrpcRequest, raw, false)->Arg(32)->Arg(1'000'000);
BENCHMARK_CAPTURE(DecodeGrpcRequest, typed, true)->Arg(32)->Arg(1'000'000);

void EncodeGrpcAnswer(benchmark::State& state) {
  std::vector<float> values = RandomFloats(state.range(0));
  const TensorView view{DataType::kFp32, Shape{1, state.range(0)}, values.data()};
  const OutputTensor output{"y", view, true};
  const InferReply reply{"model", 1, "1", std::span(&output, 1)};
  std::string message;
  for (auto _ : state) {
    message.clear();
    AppendInferResponse(reply, InferResponseBytes(reply), message);
    benchmark::DoNotOptimize(message.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(message.size()));
}
BENCHMARK(EncodeGrpcAnswer)->Arg(2)->Arg(1'000'000);

}  // namespace

// What tracing costs a request: off, on and not sampled, sampled, and what becomes of a sampled one later.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "observe/otlp_spans.h"
#include "observe/tracer.h"
#include "wire/request_trace.h"

namespace {

using namespace falaj;

constexpr std::string_view kParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
constexpr std::string_view kPath = "/v2/models/mlp/infer";

std::shared_ptr<Tracing> Sampling(uint32_t rate) {
  auto tracing = std::make_shared<Tracing>();
  TraceRuleSpecs specs;
  if (rate > 0) specs.all = {true, rate, -1, true, true};
  tracing->Publish(specs);
  return tracing;
}

// The steps that a session takes for each request.
void Request(Tracer& tracer, std::string_view parent) {
  wire::RequestTrace trace;
  const TimePoint now{Nanos(1)};
  if (tracer.on()) {
    wire::TraceFields fields;
    if (!parent.empty()) fields.Add("traceparent", parent);
    trace.Begin(tracer, TraceKind::kHttp, {"192.0.2.1", 4242, false, ""}, "mlp", kPath, fields, now);
  }
  benchmark::DoNotOptimize(trace.context());
  trace.Decoded(now);
  trace.End(tracer, 200, now);
}

void TraceRequest(benchmark::State& state, uint32_t rate, std::string_view parent) {
  const auto tracing = Sampling(rate);
  Tracer tracer(tracing);
  std::string spans;
  int written = 0;
  for (auto _ : state) {
    Request(tracer, parent);
    if (++written % static_cast<int>(TraceRing::kRecords) != 0) continue;
    state.PauseTiming();
    spans.clear();
    static_cast<void>(tracing->Take(Nanos(0), SIZE_MAX, spans));
    state.ResumeTiming();
  }
}
BENCHMARK_CAPTURE(TraceRequest, off, 0, "");
BENCHMARK_CAPTURE(TraceRequest, not_sampled, UINT32_MAX, "");
BENCHMARK_CAPTURE(TraceRequest, sampled, 1, "");
BENCHMARK_CAPTURE(TraceRequest, sampled_by_client, 1, kParent);

// All the spans of a request, on the exporting thread.
void EncodeSpans(benchmark::State& state) {
  TraceRecord record{};
  record.context = {{1}, {2}, {3}, true};
  record.status = 200;
  record.version = record.rows = record.batch_rows = 1;
  record.SetText("mlp", kPath, "");
  record.times = {TimePoint{Nanos(1)}, TimePoint{Nanos(2)}, TimePoint{Nanos(3)},
                  TimePoint{Nanos(4)}, TimePoint{Nanos(5)}, TimePoint{Nanos(6)}};
  SpanEncoder encoder;
  encoder.Begin({"127.0.0.1", 8000, 8001});
  RandomIds ids;
  std::string spans;
  for (auto _ : state) {
    spans.clear();
    encoder.Append(record, ids, spans);
    benchmark::DoNotOptimize(spans.data());
  }
  state.counters["bytes"] = static_cast<double>(spans.size());
}
BENCHMARK(EncodeSpans);

}  // namespace

// Any text as a client's traceparent and tracestate: what is taken can be written again as it was read, and
// becomes a span that holds it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "observe/trace_parent.h"
#include "observe/tracer.h"

using namespace falaj;

namespace {

void Check(bool holds) {
  if (!holds) std::abort();
}

template <size_t kSize>
std::string Hex(const std::array<uint8_t, kSize>& bytes) {
  std::string text;
  for (const uint8_t byte : bytes) {
    std::array<char, 3> digits;
    std::snprintf(digits.data(), digits.size(), "%02x", byte);
    text += digits.data();
  }
  return text;
}

const std::shared_ptr<Tracing>& Shared() {
  static const auto tracing = [] {
    auto made = std::make_shared<Tracing>();
    TraceRuleSpecs specs;
    specs.all = {true, 1, -1, false, true};
    made->Publish(specs);
    return made;
  }();
  return tracing;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = text.find('\n');
  const std::string_view parent = text.substr(0, line);
  const std::string_view state = line == std::string_view::npos ? std::string_view() : text.substr(line + 1);
  const auto parsed = ParseTraceParent(parent);
  if (parsed) {
    Check(parent.substr(3, 32) == Hex(parsed->trace_id) && parent.substr(36, 16) == Hex(parsed->parent_id));
    Check(parsed->sampled == ((std::string_view("13579bdf").find(parent[54])) != std::string_view::npos));
  }
  static Tracer tracer(Shared());
  auto record = tracer.Begin("m", state.substr(0, 64).empty() ? "" : "/p", parent, state);
  Check(record != nullptr);
  if (parsed) Check(record->context.trace_id == parsed->trace_id);
  const std::string_view kept = record->state();
  Check(kept.empty() || (kept == state && IsTraceState(state)));
  const std::string id(reinterpret_cast<const char*>(record->context.trace_id.data()), 16);
  const std::string copy(kept);
  tracer.End(std::move(record));
  std::string spans;
  Check(Shared()->Take(Nanos(0), SIZE_MAX, spans).requests == 1);
  Check(spans.find(id) != std::string::npos && spans.find(copy) != std::string::npos);
  return 0;
}

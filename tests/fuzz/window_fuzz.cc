// Any bytes as the state of an entity's windows (join/window.h): refused, or read as what would have been
// written so; then events are added to it, and it is read again.
#include <cstdlib>
#include <string>
#include <string_view>

#include "join/window.h"

namespace {

using namespace falaj::join;

constexpr int64_t kTile = 1000;

WindowSpec Spec() {
  WindowSpec spec;
  spec.columns = {Kind::kFloat, Kind::kInteger, Kind::kText};
  for (const auto function : {Function::kCount, Function::kSum, Function::kMean, Function::kStd,
                              Function::kMin, Function::kMax, Function::kLast, Function::kDistinct}) {
    for (int column = 0; column < 3; ++column) {
      spec.aggregates.push_back({function, column, 3 * kTile, kTile});
      if (!spec.Check().ok()) spec.aggregates.pop_back();
    }
  }
  return spec;
}

// What every state of the spec begins with: a fuzzer would not find it.
std::string Head(const WindowSpec& spec) {
  std::string head = WindowState(spec).Write();
  head.resize(head.size() - sizeof(int64_t) - sizeof(uint32_t) * (2 + spec.aggregates.size()));
  return head;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const WindowSpec spec = Spec();
  static const std::string head = Head(spec);
  const std::string bytes = head + std::string(reinterpret_cast<const char*>(data), size);
  auto state = WindowState::Read(spec, bytes);
  if (!state.ok()) return 0;
  if (state->Write() != bytes) std::abort();
  ByteReader from(std::string_view(bytes).substr(head.size()));
  int64_t advanced = from.I64();
  (void)state->Get(advanced);  // a sum of integers may be too large
  for (int64_t i = 0; i < 3; ++i) {
    Event event{{advanced, advanced, i}, {}, {0.5, i, std::string("a")}};
    if (i == 1) event.id = "a";
    if (!state->Add(event).ok()) std::abort();
    if (__builtin_add_overflow(advanced, kTile, &advanced)) return 0;
    state->Advance(advanced);
    (void)state->Get(advanced);
  }
  const std::string later = state->Write();
  const auto again = WindowState::Read(spec, later);
  if (!again.ok() || again.value().Write() != later) std::abort();
  return 0;
}

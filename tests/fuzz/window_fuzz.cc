// Any bytes as the state of an entity's windows (join/window.h): refused, or read as what would have been
// written so, where it has no events with ids. Then events are added to it; what is written has the values
// that the state has.
#include <cstdlib>
#include <string>
#include <string_view>

#include "join/window.h"
#include "join/window_reader.h"

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
  return WindowState(spec).Write().substr(0, sizeof(uint8_t) + sizeof(uint32_t));
}

// Ends the program where the reader has other values of `bytes`, which `state` wrote, than the state.
void Compare(const WindowSpec& spec, const WindowState& state, std::string_view bytes, int64_t time) {
  static WindowReader reader;
  const auto expected = state.Get(time);
  if (reader.Read(spec, bytes, time).ok() != expected.ok()) std::abort();  // a sum may be too large
  if (!expected.ok()) return;
  for (size_t i = 0; i < reader.values().size(); ++i) {
    const Value got = Owned(reader.values()[i]);
    if (ValueLess()(got, expected.value()[i]) || ValueLess()(expected.value()[i], got)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const WindowSpec spec = Spec();
  static const std::string start = Head(spec);
  static WindowReader reader;
  const std::string bytes = start + std::string(reinterpret_cast<const char*>(data), size);
  (void)reader.Read(spec, bytes, 0);
  auto state = WindowState::Read(spec, bytes);
  if (!state.ok()) return 0;
  ByteReader from(bytes);
  const StateHead head = StateHead::Read(spec, from).value();
  if (head.own == 0 && state->Write() != bytes) std::abort();
  int64_t now = head.advanced;
  Compare(spec, *state, state->Write(), now);
  for (int64_t i = 0; i < 3; ++i) {
    Event event{{now, now, i}, {}, {0.5, i, std::string("a")}};
    if (i == 1) event.id = "a";
    if (!state->Add(event).ok()) std::abort();
    if (__builtin_add_overflow(now, kTile, &now)) return 0;
    Compare(spec, *state, state->Write(), now);
    state->Advance(now);
    Compare(spec, *state, state->Write(), now);
  }
  const std::string later = state->Write();
  const auto again = WindowState::Read(spec, later);
  if (!again.ok() || again.value().Write() != later) std::abort();
  return 0;
}

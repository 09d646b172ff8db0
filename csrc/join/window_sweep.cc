#include "join/window_sweep.h"

#include <string>

namespace falaj::join {
namespace {

Status CheckArrays(const WindowSpec& spec, const EventArrays& events) {
  const size_t count = events.entity.size();
  const auto fits = [&](size_t size, bool optional) { return size == count || (optional && size == 0); };
  if (!fits(events.event.size(), false) || !fits(events.known.size(), false) ||
      !fits(events.sequence.size(), false) || !fits(events.id.size(), true) ||
      !fits(events.id_valid.size(), true))
    return InvalidInput("events: expected arrays of " + std::to_string(count) + " elements");
  if (events.columns.size() != spec.columns.size())
    return InvalidInput("events: expected " + std::to_string(spec.columns.size()) + " columns, got " +
                        std::to_string(events.columns.size()));
  for (size_t i = 0; i < spec.columns.size(); ++i) {
    const std::string at = "events, column " + std::to_string(i) + ": ";
    if (spec.columns[i] == Kind::kText) return InvalidInput(at + "expected codes of texts, got text");
    const bool floats = spec.columns[i] == Kind::kFloat;
    const size_t size = floats ? events.columns[i].floats.size() : events.columns[i].integers.size();
    if (!fits(size, false) || !fits(events.columns[i].valid.size(), true))
      return InvalidInput(at + "expected " + std::to_string(count) + " elements");
  }
  for (size_t i = 1; i < count; ++i) {
    if (events.entity[i] < events.entity[i - 1])
      return InvalidInput("events: are not in the order of entities");
  }
  return Status::Ok();
}

Status CheckSpine(const SpineArrays& spine) {
  if (spine.time.size() != spine.entity.size())
    return InvalidInput("spine: expected as many times as entities");
  for (size_t i = 1; i < spine.entity.size(); ++i) {
    const bool ascends = spine.entity[i] != spine.entity[i - 1] ? spine.entity[i] > spine.entity[i - 1]
                                                                : spine.time[i] >= spine.time[i - 1];
    if (!ascends) return InvalidInput("spine: is not in the order of entities and times");
  }
  return Status::Ok();
}

Value ValueAt(Kind kind, const ColumnArray& column, size_t i) {
  if (!column.valid.empty() && column.valid[i] == 0) return {};
  return kind == Kind::kFloat ? Value(column.floats[i]) : Value(column.integers[i]);
}

Event EventAt(const WindowSpec& spec, const EventArrays& events, size_t i) {
  Event event;
  event.at = {events.event[i], events.known[i], events.sequence[i]};
  if (!events.id.empty() && (events.id_valid.empty() || events.id_valid[i] != 0)) {
    const auto* bytes = reinterpret_cast<const char*>(&events.id[i]);
    event.id = std::string(bytes, sizeof(int64_t));
  }
  event.values.reserve(spec.columns.size());
  for (size_t c = 0; c < spec.columns.size(); ++c)
    event.values.push_back(ValueAt(spec.columns[c], events.columns[c], i));
  return event;
}

void Put(const Value& value, size_t row, FeatureArray& to) {
  if (const auto* integer = std::get_if<int64_t>(&value)) to.integers[row] = *integer;
  if (const auto* real = std::get_if<double>(&value)) to.floats[row] = *real;
  to.valid[row] = IsNull(value) ? 0 : 1;
}

}  // namespace

bool IsFloat(const WindowSpec& spec, const Aggregate& of) {
  if (of.function == Function::kCount || of.function == Function::kDistinct) return false;
  if (of.function == Function::kMean || of.function == Function::kStd) return true;
  return spec.columns[static_cast<size_t>(of.column)] == Kind::kFloat;
}

Result<std::vector<FeatureArray>> SweepWindows(const WindowSpec& spec, const EventArrays& events,
                                               const SpineArrays& spine) {
  FALAJ_RETURN_IF_ERROR(spec.Check());
  FALAJ_RETURN_IF_ERROR(CheckArrays(spec, events));
  FALAJ_RETURN_IF_ERROR(CheckSpine(spine));
  const size_t rows = spine.entity.size();
  std::vector<FeatureArray> features(spec.aggregates.size());
  for (size_t i = 0; i < features.size(); ++i) {
    IsFloat(spec, spec.aggregates[i]) ? features[i].floats.resize(rows) : features[i].integers.resize(rows);
    features[i].valid.resize(rows);
  }
  size_t next = 0;
  for (size_t row = 0; row < rows;) {
    const int64_t entity = spine.entity[row];
    while (next < events.entity.size() && events.entity[next] < entity) ++next;
    WindowState state(spec);
    for (; next < events.entity.size() && events.entity[next] == entity; ++next)
      FALAJ_RETURN_IF_ERROR(state.Add(EventAt(spec, events, next)));
    for (; row < rows && spine.entity[row] == entity; ++row) {
      state.Advance(spine.time[row]);
      const Result<std::vector<Value>> values = state.Get(spine.time[row]);
      FALAJ_RETURN_IF_ERROR(values.status());
      for (size_t i = 0; i < features.size(); ++i) Put(values.value()[i], row, features[i]);
    }
  }
  return features;
}

}  // namespace falaj::join

#include "join/window_entity.h"

#include <cstring>
#include <utility>

#include "join/bytes.h"
#include "join/online_store.h"
#include "join/window.h"
#include "join/window_reader.h"

namespace falaj {

join::Kind KindOf(DataType type) {
  if (type == DataType::kFp32 || type == DataType::kFp64) return join::Kind::kFloat;
  return type == DataType::kBytes ? join::Kind::kText : join::Kind::kInteger;
}

namespace {

using join::Load;

Status Blame(const ViewSpec& spec, const Status& status) {
  return {status.code(), ViewName(spec) + ": " + std::string(status.message())};
}

template <typename T>
int64_t IntegerAt(const ColumnData& column, size_t row) {
  return static_cast<int64_t>(Load<T>(column.data + row * sizeof(T)));
}

join::Value ValueAt(const ColumnData& column, size_t row) {
  if (column.nulls != nullptr && column.nulls[row] != 0) return {};
  switch (column.type) {
    case DataType::kInt8:
      return IntegerAt<int8_t>(column, row);
    case DataType::kInt16:
      return IntegerAt<int16_t>(column, row);
    case DataType::kInt32:
      return IntegerAt<int32_t>(column, row);
    case DataType::kInt64:
      return IntegerAt<int64_t>(column, row);
    case DataType::kUint16:
      return IntegerAt<uint16_t>(column, row);
    case DataType::kUint32:
      return IntegerAt<uint32_t>(column, row);
    case DataType::kFp32:
      return static_cast<double>(Load<float>(column.data + row * sizeof(float)));
    case DataType::kFp64:
      return Load<double>(column.data + row * sizeof(double));
    case DataType::kBytes:
      return std::string(Load<std::string_view>(column.data + row * sizeof(std::string_view)));
    default:
      return IntegerAt<uint8_t>(column, row);
  }
}

DataType ResultOf(const Windowed& windowed, const join::Aggregate& of) {
  using join::Function;
  if (of.function == Function::kCount || of.function == Function::kDistinct) return DataType::kInt64;
  if (of.function == Function::kMean || of.function == Function::kStd) return DataType::kFp64;
  const DataType input = windowed.inputs[static_cast<size_t>(of.column)].type;
  if (of.function != Function::kSum) return input;
  return KindOf(input) == join::Kind::kFloat ? DataType::kFp64 : DataType::kInt64;
}

void Store(int64_t value, DataType type, std::byte* at) {
  // Little-endian: an integer's first bytes are the same integer of a smaller type that holds it.
  std::memcpy(at, &value, ElementSize(type));
}

void Store(double value, DataType type, std::byte* at) {
  if (type == DataType::kFp64) {
    std::memcpy(at, &value, sizeof(value));
  } else {
    const auto narrow = static_cast<float>(value);  // it was one
    std::memcpy(at, &narrow, sizeof(narrow));
  }
}

// A row as RowLayout has it.
void Encode(std::span<const join::ValueView> values, const RowLayout& layout, std::vector<std::byte>& row) {
  const auto slots = layout.slots();
  row.assign(slots.back().offset + slots.back().size, std::byte{0});
  for (size_t i = 0; i < slots.size(); ++i) {
    const RowLayout::Slot& slot = slots[i];
    if (join::IsNull(values[i])) {
      row[i / 8] |= std::byte{1} << (i % 8);
    } else if (const auto* integer = std::get_if<int64_t>(&values[i])) {
      Store(*integer, slot.type, &row[slot.offset]);
    } else if (const auto* real = std::get_if<double>(&values[i])) {
      Store(*real, slot.type, &row[slot.offset]);
    } else {
      const auto text = std::get<std::string_view>(values[i]);
      const uint32_t at[2] = {static_cast<uint32_t>(row.size()), static_cast<uint32_t>(text.size())};
      std::memcpy(&row[slot.offset], at, sizeof(at));
      const auto* characters = reinterpret_cast<const std::byte*>(text.data());
      row.insert(row.end(), characters, characters + text.size());
    }
  }
}

join::Event EventAt(const WriteRows& rows, size_t row, bool identified) {
  join::Event event;
  event.at = {rows.event[row], rows.known[row], rows.sequence[row]};
  const size_t values = rows.columns.size() - (identified ? 1 : 0);
  event.values.reserve(values);
  for (size_t i = 0; i < values; ++i) event.values.push_back(ValueAt(rows.columns[i], row));
  if (!identified) return event;
  join::Value id = ValueAt(rows.columns[values], row);
  if (!join::IsNull(id)) event.id = std::get<std::string>(std::move(id));
  return event;
}

}  // namespace

Status CheckWindows(const ViewSpec& spec) {
  const Windowed& windowed = *spec.windowed;
  const size_t inputs = windowed.inputs.size() - (windowed.identified ? 1 : 0);
  for (size_t i = 0; i < windowed.inputs.size(); ++i) {
    const ColumnSpec& input = windowed.inputs[i];
    const std::string where = ViewName(spec) + ", column '" + input.name + "': ";
    if (input.type == DataType::kFp16 || input.type == DataType::kBf16 || input.type == DataType::kUint64)
      return InvalidInput(where + DataTypeName(input.type) + " cannot be summed up over windows");
    if (i == inputs && input.type != DataType::kBytes)
      return InvalidInput(where + "expected BYTES for the events' ids, got " + DataTypeName(input.type));
    if (i < inputs && (i >= windowed.spec.columns.size() || windowed.spec.columns[i] != KindOf(input.type)))
      return InvalidInput(where + "is not of the kind that its windows have");
  }
  if (windowed.spec.columns.size() != inputs || windowed.spec.aggregates.size() != spec.columns.size())
    return InvalidInput(ViewName(spec) + ": expected a column for each aggregate, and a kind for each input");
  if (const Status status = windowed.spec.Check(); !status.ok()) return Blame(spec, status);
  for (size_t i = 0; i < spec.columns.size(); ++i) {
    const DataType expected = ResultOf(windowed, windowed.spec.aggregates[i]);
    if (spec.columns[i].type == expected) continue;
    return InvalidInput(ViewName(spec) + ", column '" + spec.columns[i].name + "': expected " +
                        DataTypeName(expected) + ", got " + DataTypeName(spec.columns[i].type));
  }
  if (spec.ttl_us) return InvalidInput(ViewName(spec) + ": expected no ttl beside aggregates");
  return Status::Ok();
}

Status TakeWindows(std::string_view value, const ViewSpec& spec, const RowLayout& layout, int64_t now,
                   size_t i, FeatureColumns& out) {
  thread_local join::WindowReader reader;
  thread_local std::vector<std::byte> row;
  if (const Status status = reader.Read(spec.windowed->spec, value, now); !status.ok())
    return Blame(spec, status);
  Encode(reader.values(), layout, row);
  out.SetPresent(i, row);
  out.Flush();  // the row is overwritten by the next
  return Status::Ok();
}

Result<std::optional<std::string>> MergeWindows(std::optional<std::string_view> old, const ViewSpec& spec,
                                                const WriteRows& rows, std::span<const size_t> order,
                                                int64_t now) {
  const Windowed& windowed = *spec.windowed;
  join::WindowState state(windowed.spec);
  if (old) {
    Result<join::WindowState> read = join::WindowState::Read(windowed.spec, *old);
    if (!read.ok()) return Blame(spec, read.status());
    state = std::move(*read);
  }
  for (const size_t row : order) {
    if (rows.deleted[row] != 0)
      return InvalidInput(ViewName(spec) + ", row " + std::to_string(row) +
                          ": is a deletion, which a view with aggregates has not");
    FALAJ_RETURN_IF_ERROR(state.Add(EventAt(rows, row, windowed.identified)));
  }
  if (old && state.Write() == *old) return std::optional<std::string>();
  state.Advance(now);
  return std::optional<std::string>(state.Write());
}

}  // namespace falaj

#include "join/online_store.h"

#include <algorithm>
#include <optional>

#include "join/frontier.h"
#include "join/window_entity.h"

namespace falaj {
namespace {

bool IsInteger(DataType type) {
  const std::string_view name = DataTypeName(type);
  return name.starts_with("INT") || name.starts_with("UINT");
}

bool IsValue(DataType type) { return type != DataType::kFp16 && type != DataType::kBf16; }

}  // namespace

Status CheckSpec(const ViewSpec& spec) {
  const std::string where = ViewName(spec);
  if (spec.name.empty() || spec.name.find_first_of("@: \n") != std::string::npos) {
    return InvalidInput(where + ": expected a name without '@', ':' and blanks");
  }
  if (spec.keys.empty()) return InvalidInput(where + ": expected at least one key");
  if (spec.columns.empty()) return InvalidInput(where + ": expected at least one column");
  for (const ColumnSpec& key : spec.keys) {
    if (IsInteger(key.type) || key.type == DataType::kBytes) continue;
    return InvalidInput(where + ", key '" + key.name + "': expected integers or BYTES, got " +
                        DataTypeName(key.type));
  }
  for (const ColumnSpec& column : spec.columns) {
    if (IsValue(column.type)) continue;
    return InvalidInput(where + ", column '" + column.name + "': " + DataTypeName(column.type) +
                        " cannot be stored");
  }
  if (spec.delay_us < 0 || spec.ttl_us.value_or(0) < 0) {
    return InvalidInput(where + ": expected a delay and a ttl of 0 or more");
  }
  return spec.windowed ? CheckWindows(spec) : Status::Ok();
}

Status CheckColumns(std::span<const ColumnData> columns, std::span<const ColumnSpec> specs,
                    const char* what) {
  if (columns.size() != specs.size()) {
    return InvalidInput("expected " + std::to_string(specs.size()) + " " + what + "s, got " +
                        std::to_string(columns.size()));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    if (columns[i].type == specs[i].type) continue;
    return InvalidInput(std::string(what) + " '" + specs[i].name + "': expected " +
                        DataTypeName(specs[i].type) + ", got " + DataTypeName(columns[i].type));
  }
  return Status::Ok();
}

Status CheckRows(const WriteRows& rows, const ViewSpec& spec) {
  FALAJ_RETURN_IF_ERROR(CheckColumns(rows.keys, spec.keys, "key"));
  FALAJ_RETURN_IF_ERROR(CheckColumns(rows.columns, spec.written(), "column"));
  const size_t count = rows.event.size();
  if (rows.known.size() != count || rows.sequence.size() != count || rows.deleted.size() != count) {
    return InvalidInput(ViewName(spec) + ": expected as many known, sequence and deleted as the " +
                        std::to_string(count) + " event times");
  }
  return Status::Ok();
}

std::string Describe(const ViewSpec& spec) {
  std::string text = "definition " + spec.content_hash + "\n";
  for (const ColumnSpec& key : spec.keys) text += "key " + key.name + " " + DataTypeName(key.type) + "\n";
  for (const ColumnSpec& column : spec.columns) {
    text += "column " + column.name + " " + DataTypeName(column.type) + "\n";
  }
  text += "delay_us " + std::to_string(spec.delay_us) + "\n";
  text += "ttl_us " + (spec.ttl_us ? std::to_string(*spec.ttl_us) : "none") + "\n";
  if (!spec.windowed) return text;
  for (const ColumnSpec& input : spec.windowed->inputs) {
    text += "input " + input.name + " " + DataTypeName(input.type) + "\n";
  }
  text += spec.windowed->identified ? "identified\n" : "";
  for (const join::Aggregate& of : spec.windowed->spec.aggregates) {
    text += "aggregate " + std::to_string(static_cast<int>(of.function)) + " " + std::to_string(of.column) +
            " " + std::to_string(of.window) + " " + std::to_string(of.tile) + "\n";
  }
  return text;
}

Status CheckDescription(std::string_view found, const ViewSpec& spec) {
  const std::string text = Describe(spec);
  std::string_view expected = text;
  while (!found.empty() || !expected.empty()) {
    const std::string_view a = found.substr(0, found.find('\n'));
    const std::string_view b = expected.substr(0, expected.find('\n'));
    if (a != b) {
      return InvalidInput(ViewName(spec) + ": is stored with '" + std::string(a) + "', got '" +
                          std::string(b) + "': a changed view is another version");
    }
    found.remove_prefix(std::min(found.size(), a.size() + 1));
    expected.remove_prefix(std::min(expected.size(), b.size() + 1));
  }
  return Status::Ok();
}

Status TakeEntity(std::span<const std::byte> value, const ViewSpec& spec, const RowLayout& layout,
                  int64_t now, size_t i, FeatureColumns& out) {
  if (spec.windowed) {
    const std::string_view bytes(reinterpret_cast<const char*>(value.data()), value.size());
    return TakeWindows(bytes, spec, layout, now, i, out);
  }
  std::optional<Entry> entry;
  if (!FindVisible(value, layout, now, entry)) return DamagedEntity(spec);
  if (!entry || entry->deleted) return Status::Ok();
  // visible_ts <= now and event <= visible_ts: what has passed since is not negative, but may be 2^63 and
  // more.
  const uint64_t age = static_cast<uint64_t>(now) - static_cast<uint64_t>(entry->event);
  if (spec.ttl_us && age > static_cast<uint64_t>(*spec.ttl_us)) {
    out.SetExpired(i);
  } else {
    out.SetPresent(i, entry->row);
  }
  return Status::Ok();
}

std::string ViewName(const ViewSpec& spec) {
  return "view " + spec.name + "@" + std::to_string(spec.version);
}

Status DamagedEntity(const ViewSpec& spec) {
  return Internal(ViewName(spec) + ": a stored entity is damaged");
}

}  // namespace falaj

#include "join/online_store.h"

namespace falaj {
namespace {

bool IsInteger(DataType type) {
  const std::string_view name = DataTypeName(type);
  return name.starts_with("INT") || name.starts_with("UINT");
}

bool IsValue(DataType type) { return type != DataType::kFp16 && type != DataType::kBf16; }

}  // namespace

Status CheckSpec(const ViewSpec& spec) {
  const std::string where = "view " + spec.name + "@" + std::to_string(spec.version);
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
  return Status::Ok();
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

std::string Describe(const ViewSpec& spec) {
  std::string text = "definition " + spec.content_hash + "\n";
  for (const ColumnSpec& key : spec.keys) text += "key " + key.name + " " + DataTypeName(key.type) + "\n";
  for (const ColumnSpec& column : spec.columns) {
    text += "column " + column.name + " " + DataTypeName(column.type) + "\n";
  }
  text += "delay_us " + std::to_string(spec.delay_us) + "\n";
  return text + "ttl_us " + (spec.ttl_us ? std::to_string(*spec.ttl_us) : "none") + "\n";
}

}  // namespace falaj

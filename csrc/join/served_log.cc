#include "join/served_log.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace falaj {
namespace {

// Not 0, and another for each recorder: instances of one model are asked at the same times.
uint64_t Seed(const void* of) {
  const auto now = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  return (now ^ (reinterpret_cast<uintptr_t>(of) << 16)) * 0x9E3779B97F4A7C15ULL | 1;
}

}  // namespace

std::vector<size_t> KeyInputs(const JoinPlan& plan) {
  std::vector<size_t> keys;
  for (const JoinPlan::View& view : plan.views) {
    for (const size_t key : view.keys) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  return keys;
}

std::vector<DataType> ServedFields(const JoinPlan& plan) {
  std::vector<DataType> fields = {DataType::kBytes, DataType::kInt32, DataType::kInt64, DataType::kUint8};
  for (const size_t key : KeyInputs(plan)) fields.push_back(plan.signature.inputs[key].type);
  fields.insert(fields.end(), plan.views.size(), DataType::kUint8);
  for (const JoinPlan::Feature& feature : plan.features) {
    fields.push_back(DataType::kUint8);
    fields.push_back(feature.type);
  }
  return fields;
}

void ServedLog::Append(const ServedRows& rows) {
  MutexLock lock(mu_);
  if (capacity_ - filling_.bytes.size() < rows.bytes.size()) {
    dropped_ += rows.count;
    return;
  }
  filling_.bytes.insert(filling_.bytes.end(), rows.bytes.begin(), rows.bytes.end());
  filling_.count += rows.count;
}

const ServedRows& ServedLog::Take() {
  taken_.bytes.clear();
  taken_.count = 0;
  MutexLock lock(mu_);
  std::swap(taken_, filling_);
  return taken_;
}

uint64_t ServedLog::dropped() const {
  MutexLock lock(mu_);
  return dropped_;
}

ServedRecorder::ServedRecorder(const JoinPlan& plan, ServedLog& log)
    : plan_(plan), log_(log), keys_(KeyInputs(plan)), random_(Seed(this)) {}

void ServedRecorder::Record(const ServedBatch& batch) {
  for (const BatchMember& member : batch.io.members) {
    if (!log_.Samples(random_) || !member.status.ok()) continue;
    rows_.bytes.clear();
    rows_.count = static_cast<size_t>(member.rows);
    for (int64_t row = 0; row < member.rows; ++row) AddRow(batch, member, static_cast<int32_t>(row));
    log_.Append(rows_);
  }
}

void ServedRecorder::AddRow(const ServedBatch& batch, const BatchMember& member, int32_t number) {
  const auto row = static_cast<size_t>(member.first_row + number);
  AddText(member.features->id);
  Add(&number, sizeof(number));
  const int64_t looked_up_at = batch.looked_up_at[row];
  Add(&looked_up_at, sizeof(looked_up_at));
  const auto stale = static_cast<uint8_t>(member.features_stale ? 1 : 0);
  Add(&stale, sizeof(stale));
  for (const size_t key : keys_) AddElement(batch.io.inputs[key].type, batch.io.inputs[key].data, row);
  for (size_t v = 0; v < plan_.views.size(); ++v) {
    const auto status = batch.outages[v].ok() ? static_cast<ServedStatus>(batch.found[v].status()[row])
                                              : ServedStatus::kStale;
    Add(&status, sizeof(status));
  }
  for (size_t f = 0; f < plan_.features.size(); ++f) AddFeature(batch, member, f, row);
}

void ServedRecorder::AddFeature(const ServedBatch& batch, const BatchMember& member, size_t feature,
                                size_t row) {
  const JoinPlan::Feature& of = plan_.features[feature];
  const size_t input = plan_.first_feature_input + feature;
  const std::vector<size_t>& given = member.features->given;
  ServedAs as = ServedAs::kNull;
  if (std::find(given.begin(), given.end(), input) != given.end()) {
    as = ServedAs::kBrought;
  } else if (batch.found[of.view].nulls(of.column)[row] == 0) {
    as = ServedAs::kValue;
  }
  Add(&as, sizeof(as));
  if (as == ServedAs::kBrought) {
    AddElement(of.type, batch.io.inputs[input].data, row);
  } else if (as == ServedAs::kValue) {
    AddElement(of.type, batch.found[of.view].column(of.column).data(), row);
  } else {
    constexpr uint64_t kZero = 0;
    Add(&kZero, of.type == DataType::kBytes ? sizeof(uint32_t) : ElementSize(of.type));
  }
}

void ServedRecorder::Add(const void* bytes, size_t size) {
  const auto* from = static_cast<const std::byte*>(bytes);
  rows_.bytes.insert(rows_.bytes.end(), from, from + size);
}

void ServedRecorder::AddText(std::string_view text) {
  const auto length = static_cast<uint32_t>(text.size());
  Add(&length, sizeof(length));
  Add(text.data(), length);
}

void ServedRecorder::AddElement(DataType type, const void* elements, size_t row) {
  if (type == DataType::kBytes) return AddText(static_cast<const std::string_view*>(elements)[row]);
  const size_t size = ElementSize(type);
  Add(static_cast<const std::byte*>(elements) + row * size, size);
}

}  // namespace falaj

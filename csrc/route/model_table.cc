#include "route/model_table.h"

namespace falaj {
namespace {

template <typename Map>
std::string Keys(const Map& map) {
  std::string text;
  for (const auto& [key, value] : map) {
    if (!text.empty()) text += ", ";
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(key)>>) {
      text += std::to_string(key);
    } else {
      text += "'" + key + "'";
    }
  }
  return text.empty() ? "none" : text;
}

std::shared_ptr<Batcher> Holder(const ModelEntry& entry, int64_t version, const SequenceId& id) {
  for (const auto& [number, batcher] : entry.versions) {
    if ((version == 0 || version == number) && batcher->HoldsSequence(id)) return batcher;
  }
  for (const auto& batcher : entry.lingering) {
    const bool asked = version == 0 || version == batcher->options().version;
    if (asked && batcher->HoldsSequence(id)) return batcher;
  }
  return nullptr;
}

}  // namespace

void ModelTable::Publish(std::shared_ptr<const ModelEntries> entries) {
  MutexLock lock(mu_);
  entries_.swap(entries);  // the old table is dropped by the parameter, outside the lock
}

std::shared_ptr<const ModelEntries> ModelTable::Entries() const {
  MutexLock lock(mu_);
  return entries_;
}

Result<ModelLease> ModelTable::Find(std::string_view model, int64_t version,
                                    const RequestSequence* sequence) const {
  // The lease is taken under the lock: once Publish has returned, nobody can find the old version any more.
  MutexLock lock(mu_);
  const auto entry = entries_->find(model);
  if (entry == entries_->end()) {
    return NotFound("model '" + std::string(model) + "' is not known; loaded models: " + Keys(*entries_));
  }
  if (sequence != nullptr && !sequence->id.none() && !sequence->start) {
    if (auto holder = Holder(entry->second, version, sequence->id)) return ModelLease(std::move(holder));
  }
  if (version != 0) {
    const auto found = entry->second.versions.find(version);
    if (found != entry->second.versions.end()) return ModelLease(found->second);
    return NotFound("model '" + std::string(model) + "' has no version " + std::to_string(version) +
                    " in service; versions in service: " + Keys(entry->second.versions));
  }
  if (entry->second.serving == nullptr) {
    return Unavailable("model '" + std::string(model) + "' is not in service: " + entry->second.why_not);
  }
  return ModelLease(entry->second.serving);
}

}  // namespace falaj

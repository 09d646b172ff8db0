#include "join/cached_view.h"

#include "join/entity_key.h"

namespace falaj {
namespace {

// Of the list's and the table's nodes and what malloc keeps beside them.
constexpr size_t kNodeBytes = 200;

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

// Takes down what the store tells.
class CachedView::LookUp final : public PendingRead, private ValueSink {
 public:
  LookUp(CachedView& view, const SharedRead& read) : view_(view), read_(read), asked_(view.now_()) {
    SharedRead noted = read_;
    noted.values = this;
    pending_ = view_.shared_.Ask(noted);
  }

  Status Wait() override {
    Status status = pending_->Wait();
    if (status.ok()) {
      view_.Keep(Noted(), asked_);
    } else if (IsOutage(status)) {
      view_.Serve(read_);
    }
    return status;
  }

 private:
  void Take(size_t i, std::span<const std::byte> value) override {
    if (key_.Encode(read_.keys, i)) {
      sizes_.emplace_back(key_.bytes().size(), value.size());
      bytes_.append(key_.bytes()).append(Text(value));
    }
    if (read_.values != nullptr) read_.values->Take(i, value);
  }

  std::vector<Told> Noted() const {
    std::vector<Told> told;
    told.reserve(sizes_.size());
    std::string_view rest = bytes_;
    for (const auto& [key, value] : sizes_) {
      told.push_back({rest.substr(0, key), rest.substr(key, value)});
      rest.remove_prefix(key + value);
    }
    return told;
  }

  CachedView& view_;
  const SharedRead read_;
  const TimePoint asked_;
  std::unique_ptr<PendingRead> pending_;
  EntityKey key_;
  std::vector<std::pair<size_t, size_t>> sizes_;  // of keys and values
  std::string bytes_;                             // of both, one after the other
};

std::unique_ptr<PendingRead> CachedView::Ask(const SharedRead& read) {
  return std::make_unique<LookUp>(*this, read);
}

size_t CachedView::BytesOf(const Kept& kept) { return kept.key.size() + kept.value.size() + kNodeBytes; }

// Mostly the store tells what it told before. Memory is taken and given back without the lock.
void CachedView::Keep(std::span<const Told> told, TimePoint asked) {
  List fresh, gone;
  std::vector<const Told*> changed;
  {
    MutexLock lock(mu_);
    for (const Told& each : told) {
      const auto found = by_key_.find(each.key);
      if (found == by_key_.end()) {
        if (!each.value.empty()) changed.push_back(&each);
        continue;
      }
      const List::iterator kept = found->second;
      if (kept->asked > asked) continue;  // somebody else asked later
      if (each.value.empty()) {
        Forget(kept, gone);
      } else if (kept->value == each.value) {
        kept->asked = asked;
        kept_.splice(kept_.begin(), kept_, kept);
      } else {
        changed.push_back(&each);
      }
    }
  }
  for (const Told* each : changed) {
    fresh.push_back({std::string(each->key), std::string(each->value), asked});
  }
  if (!fresh.empty()) Insert(fresh, gone);
}

void CachedView::Insert(List& fresh, List& gone) {
  MutexLock lock(mu_);
  while (!fresh.empty()) {
    const List::iterator kept = fresh.begin();
    if (const auto found = by_key_.find(kept->key); found != by_key_.end()) {
      if (found->second->asked > kept->asked) {
        gone.splice(gone.end(), fresh, kept);
        continue;
      }
      Forget(found->second, gone);
    }
    bytes_ += BytesOf(*kept);
    kept_.splice(kept_.begin(), fresh, kept);
    by_key_.emplace(kept->key, kept);
  }
  while (bytes_ > most_bytes_) Forget(std::prev(kept_.end()), gone);
}

void CachedView::Forget(List::iterator kept, List& gone) {
  bytes_ -= BytesOf(*kept);
  by_key_.erase(kept->key);
  gone.splice(gone.end(), kept_, kept);
}

void CachedView::Serve(const SharedRead& read) {
  FeatureColumns& out = *read.out;
  out.Reset(layout_, read.count);
  EntityKey key;
  const TimePoint oldest = now_() - max_staleness_;
  {
    MutexLock lock(mu_);
    for (size_t i = 0; i < read.count; ++i) {
      if (!key.Encode(read.keys, i)) continue;
      const auto found = by_key_.find(key.bytes());
      if (found == by_key_.end() || found->second->asked < oldest) continue;
      kept_.splice(kept_.begin(), kept_, found->second);
      // It was read before: it is not damaged.
      (void)TakeEntity(std::as_bytes(std::span(found->second->value)), spec(), layout_, read.times[i], i,
                       out);
    }
    out.Flush();
  }
  out.Finish();
}

}  // namespace falaj

// Which version answers for which name. Python decides and publishes; every request reads.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "batch/batcher.h"
#include "core/mutex.h"

namespace falaj {

// Holds a version in service until its request is enqueued (see Batcher::Pin). Movable only.
class ModelLease {
 public:
  explicit ModelLease(std::shared_ptr<Batcher> batcher) : batcher_(std::move(batcher)) { batcher_->Pin(); }
  ModelLease(ModelLease&&) = default;
  ModelLease& operator=(ModelLease&&) = delete;
  ~ModelLease() {
    if (batcher_) batcher_->Unpin();
  }

  Batcher* operator->() const { return batcher_.get(); }
  Batcher& operator*() const { return *batcher_; }

 private:
  std::shared_ptr<Batcher> batcher_;
};

// One model's served versions; `serving` answers where no version is asked for.
struct ModelEntry {
  std::map<int64_t, std::shared_ptr<Batcher>> versions;
  std::shared_ptr<Batcher> serving;
  std::string why_not;  // where nothing is served: what failed
  // Not in service any more, but for the sequences that they have begun.
  std::vector<std::shared_ptr<Batcher>> lingering{};
};
using ModelEntries = std::map<std::string, ModelEntry, std::less<>>;

// Thread-safe. The table is swapped whole: a request sees one state of it.
class ModelTable {
 public:
  void Publish(std::shared_ptr<const ModelEntries> entries) EXCLUDES(mu_);
  std::shared_ptr<const ModelEntries> Entries() const EXCLUDES(mu_);

  // `version` 0 means the served default. Fails with NotFound naming what there is, or Unavailable with the
  // reason where the model is known and could not be loaded.
  // With a `sequence` that is under way: the version that began it, of those that are asked for.
  Result<ModelLease> Find(std::string_view model, int64_t version,
                          const RequestSequence* sequence = nullptr) const EXCLUDES(mu_);

 private:
  mutable Mutex mu_;
  std::shared_ptr<const ModelEntries> entries_ GUARDED_BY(mu_) = std::make_shared<const ModelEntries>();
};

}  // namespace falaj

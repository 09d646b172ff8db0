// What was lately read of a shared view, for when its store does not answer.
#pragma once

#include <list>
#include <string>
#include <unordered_map>

#include "join/shared_view.h"

namespace falaj {

// Thread-safe. It never answers instead of the store: only where that fails with DeadlineExceeded or
// Unavailable, and only of what it told at most `max_staleness` before; delay and TTL are applied as of then
// all the same. What was used longest ago is forgotten where all takes more than `most_bytes`.
class CachedView final : public SharedView {
 public:
  static constexpr size_t kMostBytes = size_t{64} << 20;

  // REQUIRES: view->shared() is not nullptr. `now` tells the time that staleness is of.
  CachedView(std::shared_ptr<OnlineView> view, Nanos max_staleness, size_t most_bytes = kMostBytes,
             TimePoint (*now)() = &std::chrono::steady_clock::now)
      : view_(std::move(view)),
        shared_(*view_->shared()),
        layout_(view_->spec().columns),
        max_staleness_(max_staleness),
        most_bytes_(most_bytes),
        now_(now) {}

  const ViewSpec& spec() const override { return view_->spec(); }
  std::unique_ptr<PendingRead> Ask(const SharedRead& read) override;
  Result<size_t> Write(const WriteRows& rows, int64_t now,
                       const std::optional<std::string>& cursor) override {
    return view_->Write(rows, now, cursor);
  }
  Result<std::optional<std::string>> Cursor() override { return view_->Cursor(); }
  Result<size_t> Entities() override { return view_->Entities(); }
  size_t WriteBytes() const override { return view_->WriteBytes(); }

  // What all that is kept takes, about.
  size_t bytes() const EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return bytes_;
  }

 private:
  class LookUp;
  // What the store told of an entity.
  struct Told {
    std::string_view key;
    std::string_view value;  // empty: nothing
  };
  struct Kept {
    std::string key;
    std::string value;
    TimePoint asked;  // the store, for it
  };
  using List = std::list<Kept>;

  static size_t BytesOf(const Kept& kept);
  void Keep(std::span<const Told> told, TimePoint asked) EXCLUDES(mu_);
  void Insert(List& fresh, List& gone) EXCLUDES(mu_);
  void Forget(List::iterator kept, List& gone) REQUIRES(mu_);
  void Serve(const SharedRead& read) EXCLUDES(mu_);

  const std::shared_ptr<OnlineView> view_;
  SharedView& shared_;
  const RowLayout layout_;
  const Nanos max_staleness_;
  const size_t most_bytes_;
  TimePoint (*const now_)();
  mutable Mutex mu_;           // held for no call of the store
  List kept_ GUARDED_BY(mu_);  // what was used last is first
  std::unordered_map<std::string_view, List::iterator> by_key_ GUARDED_BY(mu_);  // their keys
  size_t bytes_ GUARDED_BY(mu_) = 0;
};

}  // namespace falaj

// A view in a store that is elsewhere: look-ups are sent, and their answers awaited later, for a time.
#pragma once

#include <memory>

#include "core/mutex.h"
#include "join/online_store.h"

namespace falaj {

// Whether a store has not answered, or not in time: what it is to know may be had later.
inline bool IsOutage(const Status& status) {
  return status.code() == Code::kUnavailable || status.code() == Code::kDeadlineExceeded;
}

// Is told what a store holds of the entities of a look-up. Called by the thread that waits for it.
class ValueSink {
 public:
  virtual ~ValueSink() = default;
  // Of entity `i`, as stored (frontier.h); empty where there is nothing. In the order of the entities, each
  // once.
  virtual void Take(size_t i, std::span<const std::byte> value) = 0;
};

// What OnlineView::Read is told, and until when its answer is of use. Nothing is owned; all of it, and what
// `keys` point to, outlives the PendingRead.
struct SharedRead {
  std::span<const ColumnData> keys;
  size_t count = 0;
  AsOf times = 0;
  TimePoint deadline = TimePoint::max();  // the store's own limit holds, too
  FeatureColumns* out = nullptr;
  ValueSink* values = nullptr;  // nullptr: nobody asks
};

// A look-up that is under way. One thread at a time. May be destroyed without being waited for.
class PendingRead {
 public:
  virtual ~PendingRead() = default;
  // To be called once. Fails as OnlineView::Read does; with DeadlineExceeded or Unavailable, `out` has what
  // is known of earlier look-ups: the other entities are missing.
  virtual Status Wait() = 0;
};

// Thread-safe.
class SharedView : public OnlineView {
 public:
  // Sends a look-up, and waits for nothing but a connection. Never nullptr: what is wrong is told by Wait.
  virtual std::unique_ptr<PendingRead> Ask(const SharedRead& read) = 0;

  Status Read(std::span<const ColumnData> keys, size_t count, AsOf times, FeatureColumns& out) final {
    return Ask({keys, count, times, TimePoint::max(), &out, nullptr})->Wait();
  }
  SharedView* shared() final { return this; }
};

}  // namespace falaj

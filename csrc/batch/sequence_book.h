// The sequences of a stateful model: which are live, and whose turn it is.
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "backend/sequence_state.h"
#include "core/clock.h"
#include "core/request_sequence.h"
#include "core/status.h"

namespace falaj {

class Request;

struct SequenceOptions {
  size_t max_sequences = 10'000;  // live at a time; one more is refused
  // So many are served at a time, each with a slot of its own, and others wait until one of them ends. 0:
  // all.
  size_t slots = 0;
  Nanos idle_timeout{std::chrono::seconds(60)};  // after which a sequence without requests ends by itself
};

// One sequence, from the admission of its first request on. Guarded by the batcher's mutex, but for `state`.
struct LiveSequence {
  SequenceId id;
  SequenceState state;  // see there

  size_t requests = 0;                      // admitted, and neither answered nor withdrawn
  bool running = false;                     // one of them is in the queue or in a batch
  bool has_slot = false;                    // may run
  bool wants_slot = false;                  // is in the line of those that wait for one
  bool ended = false;                       // its last request was admitted
  std::deque<Request*> waiting;             // in order of arrival; the references are the queue's
  TimePoint last_used{};                    // where it has no requests: since when
  std::list<LiveSequence*>::iterator idle;  // valid where it has no requests
};

// Invariants:
// 1. Of one sequence at most one request is in the queue or in a batch; the others wait here, in order.
// 2. At most max_sequences are live, at most `slots` of them run.
// 3. A sequence with requests does not end by time.
// A start under the id of a live sequence begins another; what was admitted for the first is still answered.
// Not thread-safe: guarded by the mutex of its batcher.
class SequenceBook {
 public:
  explicit SequenceBook(SequenceOptions options);

  // Counts a request in, at its admission. Fails with InvalidInput (no id; not begun, or ended) or
  // Unavailable (too many).
  Result<std::shared_ptr<LiveSequence>> Join(const RequestSequence& request, TimePoint now);

  // Whether `request` of a sequence may be queued now; otherwise it waits, and is handed out by Leave.
  bool TakesTurn(LiveSequence& sequence, Request* request);

  // Counts a request out: answered, withdrawn or dropped. `ran`: it was the one in the queue or in a batch.
  // Appends what may be queued now to `next`.
  void Leave(LiveSequence& sequence, bool ran, TimePoint now, std::vector<Request*>& next);
  // Takes a waiting request out of the line; Leave follows.
  void StopWaiting(LiveSequence& sequence, Request* request);
  // The same for all of them.
  void StopWaiting(std::vector<Request*>& stopped);

  // Ends what has been idle for too long. When to look again; none: nothing is idle.
  std::optional<TimePoint> EndIdle(TimePoint now, std::vector<Request*>& next);

  bool Holds(const SequenceId& id) const;
  size_t live() const { return all_.size(); }
  uint64_t ended_idle() const { return ended_idle_; }
  uint64_t refused() const { return refused_; }

 private:
  void End(LiveSequence& sequence, std::vector<Request*>& next);
  void GiveSlot(LiveSequence& sequence);
  void PassSlotOn(std::vector<Request*>& next);

  const SequenceOptions options_;
  std::unordered_map<SequenceId, LiveSequence*, SequenceIdHash> by_id_;
  std::unordered_map<LiveSequence*, std::shared_ptr<LiveSequence>> all_;
  std::list<LiveSequence*> idle_;    // without requests, the longest first
  std::list<LiveSequence*> line_;    // those that want a slot
  std::vector<int64_t> free_slots_;  // the lowest last
  uint64_t ended_idle_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace falaj

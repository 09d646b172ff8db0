// The sequences of a stateful model: which are live, and whose turn it is.
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "backend/sequence_state.h"
#include "core/mutex.h"
#include "core/request_sequence.h"
#include "core/status.h"

namespace falaj {

class Request;

struct SequenceOptions {
  size_t max_sequences = 10'000;  // live at a time; one more is refused
  // So many are served at a time, each with a slot of its own; others wait until one of them ends. 0: all.
  size_t slots = 0;
  Nanos idle_timeout{std::chrono::seconds(60)};  // after which a sequence without requests ends by itself
  // A start under the id of a live sequence waits for what was admitted of that, as a further request of it.
  // Of a flow: on the way to the step that keeps the state the two could overtake each other.
  bool one_line_an_id = false;
};

// One sequence, from the admission of its first request on. Guarded by the batcher's mutex, but for `state`.
struct LiveSequence {
  SequenceId id;
  SequenceState state;  // see there

  size_t requests = 0;           // admitted, and neither answered nor withdrawn
  bool running = false;          // one of them is in the queue or in a batch
  bool has_slot = false;         // may run
  bool wants_slot = false;       // stands in the line for one
  bool began = false;            // one of them was run
  bool ended = false;            // its last request was admitted, or another began under its id
  std::deque<Request*> waiting;  // in order of arrival; the references are the queue's
  // Where it has no requests: since when, and its place among such.
  TimePoint idle_since{};
  std::list<LiveSequence*>::iterator idle{};
};

// Invariants:
// 1. Of one sequence at most one request is in the queue or in a batch; the others wait here, in order.
// 2. At most max_sequences are live, at most `slots` of them run. Those whose id another has taken over do
//    not count; they are live for as long as their requests are.
// 3. A sequence with requests does not end by time.
// A start under the id of a live sequence begins another, but for one_line_an_id; what was admitted for the
// first is still answered.
// Not thread-safe: guarded by the mutex of its batcher. What may be queued now that something has ended is
// appended to `next`.
class SequenceBook {
 public:
  explicit SequenceBook(SequenceOptions options);

  // Counts a request in, at its admission. Fails with InvalidInput (no id; not begun, or ended) or
  // Unavailable (too many), and changes nothing then.
  Result<std::shared_ptr<LiveSequence>> Join(const RequestSequence& request, TimePoint now,
                                             std::vector<Request*>& next);

  // Whether `request` may be queued now; otherwise it waits.
  bool TakesTurn(LiveSequence& sequence, Request* request);

  enum class Left {
    kUnqueued,  // it waited for its turn, or was dropped before that
    kQueued,    // it had its turn, and was withdrawn from the queue
    kRan,       // in a batch
  };
  // Counts a request out. A sequence of which nothing ran ends with its last: the model has not seen its
  // start.
  void Leave(LiveSequence& sequence, Left left, TimePoint now, std::vector<Request*>& next);

  // Takes a waiting request out; Leave follows.
  void StopWaiting(LiveSequence& sequence, Request* request);
  // Takes all that wait out, of every sequence. REQUIRES: nothing follows, the model is closed
  void StopWaiting(std::vector<Request*>& stopped);

  // Ends what has been idle for too long.
  void EndIdle(TimePoint now, std::vector<Request*>& next);
  // When EndIdle is to be called again, at the latest.
  TimePoint NextEnd(TimePoint now) const;

  bool Holds(const SequenceId& id) const;
  size_t live() const { return all_.size(); }
  size_t in_line() const { return line_.size(); }  // sequences that wait for a slot
  size_t waiting() const { return waiting_; }      // requests that wait for their turn
  uint64_t begun() const { return begun_; }
  uint64_t ended_idle() const { return ended_idle_; }
  uint64_t refused() const { return refused_; }

 private:
  Status NotUnderWay(const SequenceId& id, bool ended) const;
  Status TooMany(TimePoint now);
  void End(LiveSequence& sequence, std::vector<Request*>& next);
  void GiveSlot(LiveSequence& sequence);
  void PassSlotsOn(std::vector<Request*>& next);
  void TakeNext(LiveSequence& sequence, std::vector<Request*>& next);

  const SequenceOptions options_;
  std::unordered_map<SequenceId, LiveSequence*, SequenceIdHash> by_id_;  // the latest begun under each
  std::unordered_map<LiveSequence*, std::shared_ptr<LiveSequence>> all_;
  std::list<LiveSequence*> idle_;    // without requests, the longest first
  std::list<LiveSequence*> line_;    // those that want a slot
  std::vector<int64_t> free_slots_;  // the lowest last
  size_t waiting_ = 0;
  uint64_t begun_ = 0;
  uint64_t ended_idle_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace falaj

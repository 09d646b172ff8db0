// Which requests wait for the run of an equal one.
#pragma once

#include <memory>
#include <unordered_map>

#include "batch/input_digest.h"

namespace falaj {

class Request;

// One run that equal requests have in common. The leader is in the queue or in a batch; the others wait here,
// in order of arrival, one reference each.
struct Flight {
  Digest digest;
  Request* leader = nullptr;
  Request* first = nullptr;
  Request* last = nullptr;
  int failures = 0;  // of leaders' runs
};

// Invariants:
// 1. A request with a flight is its leader or waits in it, and no other has its digest.
// 2. A flight has a leader.
// Not thread-safe: guarded by the mutex of its batcher.
class FlightBook {
 public:
  // Null where none is under way.
  Flight* Find(const Digest& digest);
  Flight& Begin(const Digest& digest, Request* leader);
  // Takes over a reference.
  void Wait(Flight& flight, Request* request);
  // Takes one that waits, or the first of them (null: none), out; the reference becomes the caller's.
  void Leave(Request* request);
  Request* TakeFirst(Flight& flight);
  // Another leader: one that was taken out, or just came. The former has no flight any more.
  void Lead(Flight& flight, Request* leader);
  // The leader has no flight any more. REQUIRES: none waits
  void End(Flight& flight);
  // Null: none is under way.
  Flight* Any() { return flights_.empty() ? nullptr : flights_.begin()->second.get(); }

 private:
  std::unordered_map<Digest, std::unique_ptr<Flight>, DigestHash> flights_;
};

}  // namespace falaj

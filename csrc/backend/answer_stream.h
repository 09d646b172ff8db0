// Where a backend that answers a request several times puts its answers.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace falaj {

// Of one request. Used by the thread that runs it, or by one thread on its behalf.
class AnswerStream {
 public:
  virtual ~AnswerStream() = default;
  // Hands on one answer, in the order of the signature's outputs; `owners` hold its memory. Waits while as
  // many as may are not taken yet. False: nobody wants more answers, and this one went nowhere. Not with a
  // lock (the GIL is one) that those who take answers need.
  virtual bool Put(std::span<const TensorView> outputs, std::vector<std::shared_ptr<void>> owners) = 0;

  // The same for who must not wait, an event loop: what Put would do now. Only Put makes kSome to kFull.
  enum class Room { kSome, kFull, kEnded };
  virtual Room LookForRoom() = 0;
  // `event_fd` is written to, from any thread, when there is room again after none and when it has ended; at
  // once where it has. -1: no more, and then no write to the one before is under way.
  virtual void Watch(int event_fd) = 0;
};

}  // namespace falaj

// The answers to a request of a model that gives several, on their way to who asked.
#pragma once

#include <cstddef>

#include "backend/answer_stream.h"
#include "core/mutex.h"

namespace falaj {

class Request;

// One for each request under way. Each answer is a request of its own (Request::is_part), delivered to the
// sink of the whole, and counts as not taken until its last reference is dropped. Invariants:
// 1. Parts are delivered in order, and none after End: what is delivered then is the whole, without outputs.
// 2. At most kMost parts are not taken: then the backend waits. So memory is bounded by who takes least.
// 3. Whoever watches is told of each change from kFull, and of the end, so it needs not look by itself.
// Thread-safe. mu_ is held while a part is delivered, which is what invariant 1 needs; it comes before every
// lock of the batcher and of sinks.
class PartStream final : public AnswerStream {
 public:
  static constexpr size_t kMost = 8;

  explicit PartStream(Request* whole) : whole_(whole) {}

  bool Put(std::span<const TensorView> outputs, std::vector<std::shared_ptr<void>> owners) override
      EXCLUDES(mu_);
  Room LookForRoom() override EXCLUDES(mu_);
  void Watch(int event_fd) override EXCLUDES(mu_);
  // A part's last reference was dropped.
  void Taken() EXCLUDES(mu_);
  // Nothing more is delivered; the backend does not wait any longer.
  void End() EXCLUDES(mu_);
  // For the next request. REQUIRES: no part is left
  void Reset() EXCLUDES(mu_);

 private:
  void TellWatcher() REQUIRES(mu_);

  Request* const whole_;  // owns this
  Mutex mu_;
  CondVar changed_;
  size_t waiting_ GUARDED_BY(mu_) = 0;
  bool ended_ GUARDED_BY(mu_) = false;
  int watcher_ GUARDED_BY(mu_) = -1;  // an eventfd of the backend's
};

}  // namespace falaj

// Flushes of other models that a batch's answers have made necessary, put off until the batch is over.
#pragma once

#include <memory>

namespace falaj {

class Batcher;

// Answers of one model may be requests of another (a pipeline's next step). Were that one's batch run inside
// of the delivery, the first model's instance would be kept from other work, its statistics would count the
// other's time, and a long chain would need a deep stack. So a sink that has enqueued requests calls Add, and
// the outermost scope of the thread flushes when it ends, round after round.
class FlushScope {
 public:
  // `run_short`: whether this thread may run short batches itself.
  explicit FlushScope(bool run_short) : run_short_(run_short) { Enter(); }
  ~FlushScope() { Leave(); }
  FlushScope(const FlushScope&) = delete;
  FlushScope& operator=(const FlushScope&) = delete;

  // Has `batcher` flushed at the end of this thread's outermost scope; at once, by executors, where the
  // thread is in none.
  static void Add(std::shared_ptr<Batcher> batcher);

 private:
  static void Enter();
  void Leave();

  const bool run_short_;
};

}  // namespace falaj

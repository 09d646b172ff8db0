#include "batch/flush_scope.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "batch/batcher.h"

namespace falaj {
namespace {

// What a thread runs of what its answers made necessary; executors take the rest. The thread may be an I/O
// thread, whose connections wait meanwhile.
constexpr Nanos kMostHere{200'000};

// What one thread has put off.
struct PutOff {
  int depth = 0;
  size_t next = 0;  // those before it were flushed
  std::vector<std::shared_ptr<Batcher>> batchers;
};
thread_local PutOff put_off;

}  // namespace

void FlushScope::Enter() { ++put_off.depth; }

void FlushScope::Add(std::shared_ptr<Batcher> batcher) {
  if (put_off.depth == 0) return batcher->Flush(Batcher::RunHere::kNever);
  const auto waiting = put_off.batchers.begin() + static_cast<std::ptrdiff_t>(put_off.next);
  if (std::find(waiting, put_off.batchers.end(), batcher) != put_off.batchers.end()) return;
  put_off.batchers.push_back(std::move(batcher));
}

void FlushScope::Leave() {
  if (put_off.depth > 1 || put_off.batchers.empty()) {
    --put_off.depth;
    return;
  }
  // Still inside: what these flushes make necessary comes to this loop.
  const TimePoint until = std::chrono::steady_clock::now() + kMostHere;
  bool here = run_short_;
  while (put_off.next < put_off.batchers.size()) {
    const std::shared_ptr<Batcher> batcher = std::move(put_off.batchers[put_off.next++]);
    batcher->Flush(here ? Batcher::RunHere::kIfShort : Batcher::RunHere::kNever);
    here = here && std::chrono::steady_clock::now() < until;
  }
  put_off.batchers.clear();
  put_off.next = 0;
  --put_off.depth;
}

}  // namespace falaj

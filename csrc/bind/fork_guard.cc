#include "bind/fork_guard.h"

#include <pthread.h>

#include <atomic>

namespace falaj {
namespace {

std::atomic<int> generation{0};

}  // namespace

int ForkGeneration() {
  // Registered on first use, which is before anything that it guards is made.
  static const int registered = pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1); });
  (void)registered;
  return generation.load(std::memory_order_relaxed);
}

}  // namespace falaj

#include "wire/guarded_mapping.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/mutex.h"

namespace falaj::wire {
namespace {

// What the handler knows of one mapping. A signal handler may take no lock and reach no object but globals.
// `taken` is claimed by who maps; `begin` publishes the rest (release) to handlers (acquire), 0: nothing.
struct Slot {
  std::atomic<bool> taken{false};
  std::atomic<bool> broken{false};
  std::atomic<int> protection{PROT_NONE};
  std::atomic<size_t> bytes{0};
  std::atomic<uintptr_t> begin{0};
};
constexpr size_t kSlots = 4096;
constinit std::array<Slot, kSlots> slots;

// Handlers that were in front before ours, the last of them in use. They are kept where they are: a handler
// may be reading one.
constexpr size_t kMostChained = 16;
struct Chain {
  Mutex mu;  // a leaf; of those who install
  std::array<struct sigaction, kMostChained> handlers GUARDED_BY(mu) = {};
  size_t used GUARDED_BY(mu) = 0;
};
Chain chain;
constinit std::atomic<const struct sigaction*> previous{nullptr};
constinit std::atomic<bool> passing_on{false};

// Async-signal-safe, as is all that the handler calls: mmap is a plain system call on Linux.
bool Replace(uintptr_t address) {
  for (Slot& slot : slots) {
    const uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    const size_t bytes = slot.bytes.load(std::memory_order_relaxed);
    if (begin == 0 || address < begin || address - begin >= bytes) continue;
    slot.broken.store(true, std::memory_order_release);
    // Whoever faulted uses the mapping, so it is not being unmapped.
    void* const put = mmap(reinterpret_cast<void*>(begin), bytes, slot.protection.load(),
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    return put != MAP_FAILED;
  }
  return false;
}

// To who would have had the signal without us. One that passes it back, as Python's faulthandler does when it
// has told what it saw, gets the default.
void PassOn(int number, siginfo_t* info, void* context) {
  const struct sigaction* const to = previous.load(std::memory_order_acquire);
  const bool has_handler = to != nullptr && ((to->sa_flags & SA_SIGINFO) != 0 ||
                                             (to->sa_handler != SIG_DFL && to->sa_handler != SIG_IGN));
  if (!has_handler || passing_on.exchange(true)) {
    signal(number, SIG_DFL);
    raise(number);  // blocked until the handler returns
    return;
  }
  if ((to->sa_flags & SA_SIGINFO) != 0) {
    to->sa_sigaction(number, info, context);
  } else {
    to->sa_handler(number);
  }
  passing_on.store(false);
}

void OnBusError(int number, siginfo_t* info, void* context) {
  const int error = errno;
  const bool replaced = info->si_code == BUS_ADRERR && Replace(reinterpret_cast<uintptr_t>(info->si_addr));
  if (!replaced) PassOn(number, info, context);
  errno = error;
}

// The index of a slot that is now ours, or kSlots.
size_t ClaimSlot() {
  for (size_t i = 0; i < kSlots; ++i) {
    if (!slots[i].taken.load(std::memory_order_relaxed) && !slots[i].taken.exchange(true)) return i;
  }
  return kSlots;
}

}  // namespace

void GuardedMapping::Guard() {
  MutexLock lock(chain.mu);
  struct sigaction now {};
  if (sigaction(SIGBUS, nullptr, &now) != 0) return;
  if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == OnBusError) return;
  if (chain.used == kMostChained) return;
  chain.handlers[chain.used] = now;
  previous.store(&chain.handlers[chain.used++], std::memory_order_release);
  struct sigaction ours {};
  ours.sa_sigaction = OnBusError;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&ours.sa_mask);
  sigaction(SIGBUS, &ours, nullptr);
}

Result<std::shared_ptr<const GuardedMapping>> GuardedMapping::Map(int fd, uint64_t offset, size_t bytes,
                                                                  Access access) {
  Guard();
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const size_t skipped = offset % page;
  const size_t slot = ClaimSlot();
  if (slot == kSlots) {
    return Unavailable("no room for another mapping: " + std::to_string(kSlots) + " are in use");
  }
  Slot& own = slots[slot];
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const begin = mmap(nullptr, skipped + bytes, protection, MAP_SHARED | MAP_NORESERVE, fd,
                           static_cast<off_t>(offset - skipped));
  if (begin == MAP_FAILED) {
    const int error = errno;
    own.taken.store(false);
    return Unavailable("mmap: " + std::generic_category().message(error));
  }
  own.broken.store(false, std::memory_order_relaxed);
  own.protection.store(protection, std::memory_order_relaxed);
  own.bytes.store(skipped + bytes, std::memory_order_relaxed);
  own.begin.store(reinterpret_cast<uintptr_t>(begin), std::memory_order_release);
  return std::shared_ptr<const GuardedMapping>(
      new GuardedMapping(slot, static_cast<std::byte*>(begin), skipped + bytes, skipped));
}

GuardedMapping::~GuardedMapping() {
  slots[slot_].begin.store(0, std::memory_order_release);
  munmap(begin_, mapped_bytes_);
  slots[slot_].taken.store(false, std::memory_order_release);
}

bool GuardedMapping::broken() const { return slots[slot_].broken.load(std::memory_order_acquire); }

}  // namespace falaj::wire

#include "echo_process.h"

#include <pthread.h>

#include <cinttypes>
#include <csignal>
#include <cstdio>

namespace falaj::bench {
namespace {

sigset_t EndSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

void HoldSignals() {
  const sigset_t signals = EndSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void ServeUntilSignal(const char* wire, uint16_t port) {
  std::printf("{\"event\": \"ready\", \"%s\": %u}\n", wire, static_cast<unsigned>(port));
  std::fflush(stdout);
  const sigset_t signals = EndSignals();
  int signal = 0;
  sigwait(&signals, &signal);
}

void AnnounceStopped(uint64_t requests) {
  std::printf("{\"event\": \"stopped\", \"requests\": %" PRIu64 "}\n", requests);
}

}  // namespace falaj::bench

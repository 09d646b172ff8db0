// An echo server as a process: it says on stdout where it listens and, when it is told to end, how many
// requests it answered.
#pragma once

#include <cstdint>

namespace falaj::bench {

// Keeps SIGTERM and SIGINT for ServeUntilSignal. Call it before threads are made, which inherit it.
void HoldSignals();
// Writes {"event": "ready", "<wire>": <port>} and returns when the process is told to end.
void ServeUntilSignal(const char* wire, uint16_t port);
// Writes {"event": "stopped", "requests": <requests>}.
void AnnounceStopped(uint64_t requests);

}  // namespace falaj::bench

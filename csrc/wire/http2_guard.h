// What an HTTP/2 peer may do to us and how long it may be silent: the bounds of GrpcLimits that are a matter
// of counting and of time, without the protocol itself.
#pragma once

#include <cstdint>
#include <optional>

#include "wire/wire_options.h"
#include "wire/wire_stats.h"

namespace falaj::wire {

// One connection's. Times are the host's. Not thread-safe.
class Http2Guard {
 public:
  // `limits` outlives it.
  Http2Guard(const GrpcLimits& limits, TimePoint now)
      : limits_(limits), opened_(now), last_received_(now), quiet_since_(now), second_(now) {}

  // --- What happened. Those that return false: it was once too often, the peer is to be sent away.

  void OnReceived(TimePoint now) { last_received_ = now; }
  void OnStreamClosed(TimePoint now) { quiet_since_ = now; }
  void OnSettings() { greeted_ = true; }
  [[nodiscard]] bool OnReset(TimePoint now);
  [[nodiscard]] bool OnControlFrame(TimePoint now);
  [[nodiscard]] bool OnPing(TimePoint now);
  // Answers went out: a peer may ping in order to learn how fast they travel.
  void OnAnswerSent() {
    strikes_ = 0;
    last_ping_.reset();
  }
  void OnPinged(TimePoint now) { pinged_ = now; }

  // --- What time it is.

  enum class Verdict {
    kFine,
    kPing,   // silence: see whether the peer is there, then OnPinged
    kIdle,   // no streams for long: part with it in peace
    kClose,  // it is gone, or never was there: see why()
  };
  // `has_streams`: some request is open. `write_blocked_since`: the peer has taken nothing since.
  Verdict Tick(TimePoint now, bool has_streams, std::optional<TimePoint> write_blocked_since);
  // REQUIRES: Tick said kIdle or kClose
  Refusal why() const { return why_; }

 private:
  void NewSecond(TimePoint now);

  static constexpr int kStrikes = 3;

  const GrpcLimits& limits_;
  const TimePoint opened_;
  bool greeted_ = false;
  TimePoint last_received_;
  TimePoint quiet_since_;  // without streams
  std::optional<TimePoint> pinged_;
  std::optional<TimePoint> last_ping_;  // the peer's
  int strikes_ = 0;
  TimePoint second_;  // of the counts below
  uint32_t resets_ = 0;
  uint32_t control_frames_ = 0;
  Refusal why_ = Refusal::kIdleTimeout;
};

}  // namespace falaj::wire

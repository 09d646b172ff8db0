#include "wire/http2_guard.h"

namespace falaj::wire {

void Http2Guard::NewSecond(TimePoint now) {
  if (now - second_ < std::chrono::seconds(1)) return;
  second_ = now;
  resets_ = 0;
  control_frames_ = 0;
}

bool Http2Guard::OnReset(TimePoint now) {
  NewSecond(now);
  return ++resets_ <= limits_.max_resets_per_second;
}

bool Http2Guard::OnControlFrame(TimePoint now) {
  NewSecond(now);
  return ++control_frames_ <= limits_.max_control_frames_per_second;
}

bool Http2Guard::OnPing(TimePoint now) {
  const bool early = last_ping_ && now - *last_ping_ < limits_.min_ping_interval;
  last_ping_ = now;
  return !early || ++strikes_ < kStrikes;
}

Http2Guard::Verdict Http2Guard::Tick(TimePoint now, bool has_streams,
                                     std::optional<TimePoint> write_blocked_since) {
  const auto close = [this](Refusal why) {
    why_ = why;
    return Verdict::kClose;
  };
  if (!greeted_ && now - opened_ >= limits_.handshake_timeout) return close(Refusal::kHeaderTimeout);
  if (write_blocked_since && now - *write_blocked_since >= limits_.write_timeout) {
    return close(Refusal::kWriteTimeout);
  }
  if (has_streams) quiet_since_ = now;
  if (pinged_ && last_received_ > *pinged_) pinged_.reset();
  if (pinged_) {
    return now - *pinged_ >= limits_.keepalive_timeout ? close(Refusal::kIdleTimeout) : Verdict::kFine;
  }
  if (now - quiet_since_ >= limits_.idle_timeout) {
    why_ = Refusal::kIdleTimeout;
    quiet_since_ = now;  // said once; again only if it stays on all the same
    return Verdict::kIdle;
  }
  return now - last_received_ >= limits_.keepalive_interval ? Verdict::kPing : Verdict::kFine;
}

}  // namespace falaj::wire

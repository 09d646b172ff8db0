#include "observe/tracing.h"

#include <algorithm>
#include <utility>

namespace falaj {
namespace {

constexpr size_t kUsualBytes = 768;  // of the spans of one request

}  // namespace

void Tracing::Publish(const TraceRuleSpecs& specs) {
  MutexLock lock(mu_);
  rules_ = std::make_shared<const TraceRules>(specs, rules_.get());
  generation_.fetch_add(1, std::memory_order_release);
  on_.store(rules_->any_on(), std::memory_order_release);
}

std::map<std::string, int64_t> Tracing::Left() const {
  MutexLock lock(mu_);
  std::map<std::string, int64_t> left{{"", rules_->all().left()}};
  for (const auto& [name, rule] : rules_->models()) left[name] = rule.left();
  return left;
}

void Tracing::Describe(TraceServer server) {
  MutexLock lock(mu_);
  server_ = std::move(server);
}

void Tracing::AddLane(std::shared_ptr<Lane> lane) {
  MutexLock lock(mu_);
  lanes_.push_back(std::move(lane));
}

void Tracing::Put(Lane& lane, const TraceRecord& record) {
  lane.recorded.Add(1);
  if (!lane.ring.Push(record)) return lane.dropped.Add(1);
  if (lane.ring.size() == TraceRing::kRecords / 2) Wake();
}

TraceContext Tracing::Child(const TraceContext& parent) {
  MutexLock lock(shared_mu_);
  return {parent.trace_id, parent.span_id, shared_ids_.Span(), parent.sampled};
}

void Tracing::Record(const TraceRecord& record) {
  MutexLock lock(shared_mu_);
  if (shared_lane_ == nullptr) {
    shared_lane_ = std::make_shared<Lane>();
    AddLane(shared_lane_);
  }
  Put(*shared_lane_, record);
}

void Tracing::Wake() {
  MutexLock lock(mu_);
  woken_ = true;
  wake_up_.NotifyAll();
}

void Tracing::WaitForRecords(Nanos timeout) {
  const TimePoint until = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(mu_);
  while (!woken_ && std::chrono::steady_clock::now() < until) wake_up_.WaitUntil(mu_, until);
  woken_ = false;
}

// Lanes that nobody writes to any more, and of which all was taken.
void Tracing::DropEnded() {
  for (size_t i = lanes_.size(); i-- > 0;) {
    const Lane& lane = *lanes_[i];
    if (lanes_[i].use_count() > 1 || lane.ring.size() > 0) continue;
    gone_.dropped += lane.dropped.Get();
    gone_.recorded += lane.recorded.Get();
    lanes_.erase(lanes_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

Tracing::Taken Tracing::Take(Nanos timeout, size_t most_bytes, std::string& spans) {
  MutexLock taking(taking_);
  if (timeout > Nanos(0)) WaitForRecords(timeout);
  std::vector<std::shared_ptr<Lane>> lanes;
  {
    MutexLock lock(mu_);
    DropEnded();
    lanes = lanes_;
    encoder_.Begin(server_);
  }
  Taken taken;
  size_t waiting = 0;
  for (const auto& lane : lanes) waiting += lane->ring.size();
  spans.reserve(spans.size() + std::min(most_bytes, waiting * kUsualBytes));
  TraceRecord record;
  for (const auto& lane : lanes) {
    while (spans.size() < most_bytes && lane->ring.Pop(record)) {
      encoder_.Append(record, ids_, spans);
      ++taken.requests;
    }
    taken.more = taken.more || lane->ring.size() > 0;
  }
  return taken;
}

Tracing::Counts Tracing::counts() const {
  MutexLock lock(mu_);
  Counts counts = gone_;
  for (const auto& lane : lanes_) {
    counts.dropped += lane->dropped.Get();  // before the whole, which was written first
    counts.recorded += lane->recorded.Get();
  }
  return counts;
}

}  // namespace falaj

#include "batch/sequence_book.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

namespace falaj {
namespace {

std::string Seconds(Nanos time) {
  const int64_t tenths = std::max<int64_t>(0, (time.count() + 99'999'999) / 100'000'000);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace

SequenceBook::SequenceBook(SequenceOptions options) : options_(options), free_slots_(options.slots) {
  std::iota(free_slots_.rbegin(), free_slots_.rend(), 0);
}

Status SequenceBook::NotUnderWay(const SequenceId& id, bool ended) const {
  const std::string why =
      ended ? "it has ended"
            : "it was not begun with sequence_start, has ended, or was idle for more than " +
                  Seconds(options_.idle_timeout);
  return InvalidInput("sequence " + id.ToString() + " is not under way: " + why);
}

Status SequenceBook::TooMany(TimePoint now) {
  ++refused_;
  std::string text = std::to_string(all_.size()) + " sequences are live, and max_sequences is " +
                     std::to_string(options_.max_sequences);
  if (!idle_.empty()) {
    text += "; if none is ended before, one ends by idleness in " +
            Seconds(idle_.front()->idle_since + options_.idle_timeout - now);
  }
  return Unavailable(text);
}

Result<std::shared_ptr<LiveSequence>> SequenceBook::Join(const RequestSequence& request, TimePoint now,
                                                         std::vector<Request*>& next) {
  if (request.id.none())
    return InvalidInput("expected a sequence_id: the model keeps a state for each; got none");
  EndIdle(now, next);
  const auto found = by_id_.find(request.id);
  LiveSequence* const before = found == by_id_.end() ? nullptr : found->second;
  const bool joins = request.start && before != nullptr && options_.one_line_an_id;
  if (!request.start && (before == nullptr || before->ended)) {
    return NotUnderWay(request.id, before != nullptr);
  }
  if (!request.start || joins) {
    begun_ += joins ? 1 : 0;
    if (before->requests++ == 0) idle_.erase(before->idle);
    before->ended = request.end;
    return all_.at(before);
  }
  // What it replaces is over, but for what was admitted of it.
  if (all_.size() - (before != nullptr ? 1 : 0) >= options_.max_sequences) return TooMany(now);
  if (before != nullptr) {
    before->ended = true;
    if (before->requests == 0) End(*before, next);
  }
  auto begun = std::make_shared<LiveSequence>();
  begun->id = request.id;
  begun->requests = 1;
  begun->ended = request.end;
  by_id_[request.id] = begun.get();
  all_.emplace(begun.get(), begun);
  ++begun_;
  return begun;
}

void SequenceBook::GiveSlot(LiveSequence& sequence) {
  sequence.has_slot = true;
  if (options_.slots == 0) return;
  sequence.state.slot = free_slots_.back();
  free_slots_.pop_back();
}

bool SequenceBook::TakesTurn(LiveSequence& sequence, Request* request) {
  if (!sequence.has_slot && !sequence.wants_slot) {
    if (options_.slots == 0 || !free_slots_.empty()) {
      GiveSlot(sequence);
    } else {
      sequence.wants_slot = true;
      line_.push_back(&sequence);
    }
  }
  if (sequence.running || !sequence.has_slot) {
    sequence.waiting.push_back(request);
    ++waiting_;
    return false;
  }
  sequence.running = true;
  return true;
}

void SequenceBook::TakeNext(LiveSequence& sequence, std::vector<Request*>& next) {
  if (sequence.running || !sequence.has_slot || sequence.waiting.empty()) return;
  sequence.running = true;
  next.push_back(sequence.waiting.front());
  sequence.waiting.pop_front();
  --waiting_;
}

void SequenceBook::Leave(LiveSequence& sequence, Left left, TimePoint now, std::vector<Request*>& next) {
  --sequence.requests;
  if (left != Left::kUnqueued) sequence.running = false;
  sequence.began = sequence.began || left == Left::kRan;
  TakeNext(sequence, next);
  if (sequence.requests > 0) return;
  sequence.idle_since = now;
  sequence.idle = idle_.insert(idle_.end(), &sequence);
  if (sequence.ended || !sequence.began) End(sequence, next);
}

// REQUIRES: it has no requests
void SequenceBook::End(LiveSequence& sequence, std::vector<Request*>& next) {
  idle_.erase(sequence.idle);
  const auto named = by_id_.find(sequence.id);
  if (named != by_id_.end() && named->second == &sequence) by_id_.erase(named);
  if (sequence.wants_slot) line_.remove(&sequence);
  if (sequence.has_slot && options_.slots > 0) {
    free_slots_.push_back(sequence.state.slot);
    std::sort(free_slots_.rbegin(), free_slots_.rend());
  }
  all_.erase(&sequence);
  PassSlotsOn(next);
}

void SequenceBook::PassSlotsOn(std::vector<Request*>& next) {
  while (!line_.empty() && !free_slots_.empty()) {
    LiveSequence& sequence = *line_.front();
    line_.pop_front();
    sequence.wants_slot = false;
    GiveSlot(sequence);
    TakeNext(sequence, next);
  }
}

void SequenceBook::StopWaiting(LiveSequence& sequence, Request* request) {
  waiting_ -= std::erase(sequence.waiting, request);
}

void SequenceBook::StopWaiting(std::vector<Request*>& stopped) {
  for (const auto& [sequence, owner] : all_) {
    stopped.insert(stopped.end(), sequence->waiting.begin(), sequence->waiting.end());
    sequence->waiting.clear();
  }
  waiting_ = 0;
}

void SequenceBook::EndIdle(TimePoint now, std::vector<Request*>& next) {
  while (!idle_.empty() && idle_.front()->idle_since + options_.idle_timeout <= now) {
    ++ended_idle_;
    End(*idle_.front(), next);
  }
}

TimePoint SequenceBook::NextEnd(TimePoint now) const {
  return (idle_.empty() ? now : idle_.front()->idle_since) + options_.idle_timeout;
}

bool SequenceBook::Holds(const SequenceId& id) const {
  const auto found = by_id_.find(id);
  return found != by_id_.end() && !found->second->ended;
}

}  // namespace falaj

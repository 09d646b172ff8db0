// Batcher's part in sequences: requests of a stateful model, one at a time of each sequence.
#include "batch/batcher.h"

namespace falaj {

Status Batcher::CheckSequence(const Request& request) const {
  const RequestSequence& asked = request.sequence;
  if (options_.sequences) {
    if (options_.max_batch_rows == 0 || request.rows_ == 1) return Status::Ok();
    return InvalidInput(Name() + ": expected 1 row, as each request of a sequence has; got " +
                        std::to_string(request.rows_));
  }
  if (asked.id.none() && !asked.start && !asked.end) return Status::Ok();
  return InvalidInput(Name() + " keeps no sequences: expected a request without sequence_id, got " +
                      asked.id.ToString());
}

Status Batcher::JoinSequence(Request& request) {
  auto joined = book_->Join(request.sequence, request.arrived, turns_);
  QueueTurns();
  if (!joined.ok()) {
    if (joined.status().code() == Code::kInvalidInput) ++admission_.refused_invalid;
    if (joined.status().code() == Code::kUnavailable) ++admission_.refused_full;
    return {joined.status().code(), Name() + ": " + joined.status().message()};
  }
  request.live_ = std::move(joined).value();
  return Status::Ok();
}

void Batcher::QueueTurns() {
  for (Request* request : turns_) {
    request->waits_for_turn_ = false;
    queue_.PushBack(request);
  }
  turns_.clear();
}

void Batcher::LeaveSequence(LiveSequence& sequence, SequenceBook::Left left) {
  book_->Leave(sequence, left, clock_->Now(), turns_);
  QueueTurns();
  if (book_->live() == 0) idle_.NotifyAll();
}

// Those whose last request has run end before its answer is out: a client that has it may begin anew.
void Batcher::EndSequences(LiveSequences& sequences) {
  for (std::shared_ptr<LiveSequence>& sequence : sequences) {
    if (!sequence->ended || sequence->requests > 1) continue;
    LeaveSequence(*sequence, SequenceBook::Left::kRan);
    sequence.reset();
  }
}

// The next request of the others has its turn when the answer is out: answers keep their order.
void Batcher::LeaveSequences(LiveSequences& sequences) {
  for (const std::shared_ptr<LiveSequence>& sequence : sequences) {
    if (sequence != nullptr) LeaveSequence(*sequence, SequenceBook::Left::kRan);
  }
  sequences.clear();
}

void Batcher::EndIdleSequences() {
  MutexLock lock(mu_);
  while (!closed_) {
    const TimePoint now = clock_->Now();
    book_->EndIdle(now, turns_);
    QueueTurns();
    OfferMore();
    if (book_->live() == 0) idle_.NotifyAll();
    clock_->WaitUntil(sequence_time_, mu_, book_->NextEnd(now));
  }
}

bool Batcher::HoldsSequence(const SequenceId& id) const {
  if (!options_.sequences) return false;
  MutexLock lock(mu_);
  return book_->Holds(id);
}

bool Batcher::WaitForSequences(TimePoint until) {
  if (!options_.sequences) return true;
  MutexLock lock(mu_);
  while (!closed_ && (pins_.load() > 0 || book_->live() > 0)) {
    if (clock_->Now() >= until) return false;
    clock_->WaitUntil(idle_, mu_, until);
  }
  return true;
}

}  // namespace falaj

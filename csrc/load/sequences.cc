#include "load/sequences.h"

#include <algorithm>
#include <utility>

namespace falaj::load {
namespace {

// Sequences that were given up and are remembered, to be ended: memory is bounded.
constexpr size_t kMostGivenUp = 4096;

}  // namespace

Sequences::Sequences(const SequenceOptions& options, bool in_turn, uint64_t seed)
    : options_(options),
      in_turn_(in_turn),
      random_(seed),
      length_(options.least_length, options.most_length),
      all_(options.live),
      ring_(options.live) {
  for (size_t i = 0; i < all_.size(); ++i) Begin(i);
}

Mark Sequences::Take() {
  const size_t index = Pop();
  Sequence& taken = all_[index];
  if (ending_) {
    taken.closing = true;
    ++closing_;
    return {taken.id, false, true, index};
  }
  ++taken.asked;
  // A start takes the place of what the server may keep under that id.
  if (taken.asked == 1 && wrapped_) std::erase(given_up_, taken.id);
  return {taken.id, taken.asked == 1, taken.asked == taken.length, index};
}

bool Sequences::OnAnswer(size_t index, Outcome outcome) {
  Sequence& sequence = all_[index];
  if (sequence.closing) {
    --closing_;
    if (outcome == Outcome::kRefused || outcome == Outcome::kFailed) ++left_;
    Retire(index);
    return false;
  }
  if (outcome == Outcome::kAnswered) {
    if (sequence.asked < sequence.length) {
      Push(index);
      return true;
    }
    ++completed_;
  } else if (sequence.asked > 1 || outcome == Outcome::kFailed) {
    Forget(sequence.id);
  }
  if (ending_) {
    Retire(index);
  } else {
    Begin(index);
  }
  return true;
}

void Sequences::EndAll() {
  if (ending_) return;
  ending_ = true;
  for (size_t count = free_; count > 0; --count) {
    const size_t index = ring_[first_];
    first_ = (first_ + 1) % ring_.size();
    --free_;
    if (all_[index].asked > 0) {
      Push(index);
    } else {
      Retire(index);
    }
  }
}

uint64_t Sequences::left() const {
  const auto is_live = [](const Sequence& sequence) { return sequence.asked > 0; };
  return left_ + given_up_.size() + static_cast<uint64_t>(std::count_if(all_.begin(), all_.end(), is_live));
}

uint64_t Sequences::TakeCompleted() { return std::exchange(completed_, 0); }

void Sequences::Begin(size_t index) {
  all_[index] = Sequence();  // its id is free
  all_[index].id = NextId();
  all_[index].length = length_(random_);
  Push(index);
}

// Its place is for one that was given up, or for none.
void Sequences::Retire(size_t index) {
  all_[index] = Sequence();
  if (given_up_.empty()) return;
  all_[index].id = given_up_.back();
  all_[index].asked = 1;
  given_up_.pop_back();
  Push(index);
}

void Sequences::Forget(uint64_t id) {
  if (given_up_.size() < kMostGivenUp) {
    given_up_.push_back(id);
  } else {
    ++left_;
  }
}

uint64_t Sequences::NextId() {
  while (true) {
    const uint64_t id = options_.first_id + next_id_;
    if (++next_id_ == options_.ids) next_id_ = 0;
    const auto is_this = [&](const Sequence& sequence) { return sequence.id == id; };
    const bool is_live = wrapped_ && std::any_of(all_.begin(), all_.end(), is_this);
    wrapped_ = wrapped_ || next_id_ == 0;
    if (!is_live) return id;
  }
}

void Sequences::Push(size_t index) {
  ring_[(first_ + free_) % ring_.size()] = index;
  ++free_;
}

size_t Sequences::Pop() {
  --free_;
  if (!in_turn_) return ring_[(first_ + free_) % ring_.size()];
  const size_t index = ring_[first_];
  first_ = (first_ + 1) % ring_.size();
  return index;
}

}  // namespace falaj::load

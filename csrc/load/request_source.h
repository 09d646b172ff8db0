// The requests of one connection, one after the other.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "load/target.h"

namespace falaj::load {

// A copy of a request that is written into, kept by whoever asks it and used again for the next.
struct OwnRequest {
  std::string bytes;
  const Target::Request* of = nullptr;
};

// Belongs to one thread.
class RequestSource {
 public:
  // Begins with the request `first`, and takes them in turn. Its slots are counted from `first_slot` on.
  RequestSource(std::shared_ptr<const Target> target, size_t first, size_t first_slot = 0)
      : target_(std::move(target)), next_(first % target_->requests().size()), first_slot_(first_slot) {
    if (target_->options().varied.count > 0) number_.emplace(target_->options().varied);
  }

  // What it returns holds until `own` is given again, which is the `slot`'s.
  const std::string& Next(const Mark& mark, size_t slot, OwnRequest& own) {
    const Target::Request& found = target_->requests()[next_];
    if (++next_ == target_->requests().size()) next_ = 0;
    if (found.places.empty() && !number_) return found.bytes;
    if (own.of != &found) {
      own.bytes = found.bytes;
      own.of = &found;
    }
    if (number_) number_->Write(own.bytes, found.body_at);
    for (const Place& place : found.places) {
      Write(place, mark, first_slot_ + slot, own.bytes.data() + found.body_at);
    }
    return own.bytes;
  }
  const Target& target() const { return *target_; }

 private:
  const std::shared_ptr<const Target> target_;
  size_t next_;
  const size_t first_slot_;
  std::optional<NumberWriter> number_;
};

}  // namespace falaj::load

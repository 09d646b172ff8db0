// The requests of one connection, one after the other.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "load/target.h"

namespace falaj::load {

// Belongs to one thread. What it returns holds until the next call, and where nothing varies for its own
// life.
class RequestSource {
 public:
  // Begins with the request `first`, and takes them in turn.
  RequestSource(std::shared_ptr<const Target> target, size_t first)
      : target_(std::move(target)), next_(first % target_->requests().size()) {
    if (target_->options().varied.count == 0) return;
    own_ = target_->requests()[0];
    number_.emplace(target_->options().varied);
  }

  const std::string& Next() {
    if (number_) {
      number_->Write(own_.bytes, own_.body_at);
      return own_.bytes;
    }
    const std::string& found = target_->requests()[next_].bytes;
    if (++next_ == target_->requests().size()) next_ = 0;
    return found;
  }
  const Target& target() const { return *target_; }

 private:
  const std::shared_ptr<const Target> target_;
  size_t next_;
  Target::Request own_;  // where a number in it varies
  std::optional<NumberWriter> number_;
};

}  // namespace falaj::load

// Which sequence a request belongs to, of those that a stateful model keeps apart (facts: "Reserved request
// parameters").
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace falaj {

// A number or a text, as the client chose. Number 0 and the empty text are the same: none.
struct SequenceId {
  uint64_t number = 0;
  std::string text;

  bool none() const { return number == 0 && text.empty(); }
  bool operator==(const SequenceId&) const = default;
  // For messages: 7, 'abc'.
  std::string ToString() const { return text.empty() ? std::to_string(number) : "'" + text + "'"; }
};

struct SequenceIdHash {
  size_t operator()(const SequenceId& id) const {
    return id.text.empty() ? std::hash<uint64_t>()(id.number) : std::hash<std::string>()(id.text);
  }
};

// Written by the submitter before the request is admitted.
struct RequestSequence {
  SequenceId id;
  bool start = false;
  bool end = false;

  // Keeps the memory.
  void Clear() {
    id.number = 0;
    id.text.clear();
    start = end = false;
  }
};

}  // namespace falaj

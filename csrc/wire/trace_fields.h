// What of a request's header fields, or of a call's metadata, says where its client is in a trace.
#pragma once

#include <string>
#include <string_view>

namespace falaj::wire {

struct TraceFields {
  std::string parent;  // traceparent; one that comes twice is joined by a comma, which none may hold
  std::string state;   // tracestate; one that comes twice goes on where it ended (Trace Context, 3.3.1)

  // `name` is lower-case. Returns whether it was one of these.
  bool Add(std::string_view name, std::string_view value) {
    std::string* field = name == "traceparent" ? &parent : name == "tracestate" ? &state : nullptr;
    if (field == nullptr) return false;
    if (!field->empty()) field->append(",");
    field->append(value);
    return true;
  }
  // Keeps some memory.
  void Clear() {
    parent.clear();
    state.clear();
  }
};

}  // namespace falaj::wire

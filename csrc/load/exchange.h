// One request, and its answer whole.
#pragma once

#include <memory>
#include <string>

#include "core/mutex.h"
#include "core/status.h"
#include "load/target.h"

namespace falaj::load {

struct Reply {
  int status = 0;  // of HTTP, or of gRPC
  std::string body;
  std::string text;  // of gRPC's failures, the server's message
};

// Asks for the target's first request, on a thread of its own that is waited for. A status that is not good
// is no failure. Fails with Unavailable where no answer came, or more of one than the target keeps.
Result<Reply> Exchange(const std::shared_ptr<const Target>& target, Nanos timeout);

}  // namespace falaj::load

// Work beside live traffic, such as loading the next version of a model, on threads that step back for it.
#pragma once

#include <functional>

namespace falaj {

// What background work may take from the threads that serve requests.
enum class Share {
  kFull,   // as much as they get; it runs on the calling thread
  kLow,    // about a tenth of a core where all cores are busy: it always gets done
  kSpare,  // only what they leave: they never wait for it, and where all cores are busy it may take forever
};

// kSpare where some core has time to spare at the moment, else kLow. Blocks for about 0.2 ms of such time.
[[nodiscard]] Share ShareBesideTraffic();

// Runs `work` and returns when it has ended. A thread of its own each time, because Linux lets no thread take
// back its step down without privilege.
void RunWithShare(Share share, const std::function<void()>& work);

}  // namespace falaj

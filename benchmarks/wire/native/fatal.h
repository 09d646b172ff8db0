// The end of a program that cannot do what it was started for.
#pragma once

#include <string>

namespace falaj::bench {

// Writes one line to stderr and exits with code 2.
[[noreturn]] void Fatal(const std::string& what);
// The same, with the text of errno.
[[noreturn]] void FatalErrno(const std::string& what);

}  // namespace falaj::bench

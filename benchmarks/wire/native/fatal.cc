#include "fatal.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace falaj::bench {

void Fatal(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(2);
}

void FatalErrno(const std::string& what) { Fatal(what + ": " + std::strerror(errno)); }

}  // namespace falaj::bench

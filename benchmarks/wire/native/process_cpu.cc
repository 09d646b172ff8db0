#include "process_cpu.h"

#include <cerrno>
#include <string>

#include "fatal.h"

namespace falaj::bench {

ProcessCpu::ProcessCpu(int pid) {
  errno = clock_getcpuclockid(pid, &clock_);
  if (errno != 0) FatalErrno("process " + std::to_string(pid));
}

double ProcessCpu::Seconds() const {
  timespec time{};
  if (clock_gettime(clock_, &time) != 0) FatalErrno("cannot read the CPU time of a process");
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace falaj::bench

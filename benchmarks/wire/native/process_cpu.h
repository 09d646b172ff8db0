// CPU time of a process, another's or one's own.
#pragma once

#include <ctime>

namespace falaj::bench {

// Reads the process's CPU clock: user and system time of all its threads, those that have ended too, in
// nanoseconds where /proc/PID/stat has hundredths of a second.
class ProcessCpu {
 public:
  // 0: this process. Ends the program where there is no such process.
  explicit ProcessCpu(int pid);
  double Seconds() const;

 private:
  clockid_t clock_{};
};

}  // namespace falaj::bench

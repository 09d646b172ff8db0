#include "core/cpus.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

namespace falaj {
namespace {

// Cores of "quota period"; 0 where the quota is "max", negative or unreadable.
int Cores(const std::string& quota, const std::string& period) {
  char* end = nullptr;
  const double q = std::strtod(quota.c_str(), &end);
  if (end == quota.c_str() || q <= 0) return 0;
  const double p = std::strtod(period.c_str(), nullptr);
  if (p <= 0) return 0;
  return std::max(1, static_cast<int>(std::ceil(q / p)));
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

int Tightest(int a, int b) { return a == 0 ? b : b == 0 ? a : std::min(a, b); }

// The limit of a group is the tightest of its own and its ancestors'.
template <typename ReadOne>
int TightestUpwards(const std::string& base, std::string group, ReadOne read) {
  int cores = 0;
  while (true) {
    cores = Tightest(cores, read(base + group));
    const size_t slash = group.rfind('/');
    if (group.empty() || slash == std::string::npos) return cores;
    group.resize(slash);
  }
}

}  // namespace

int CgroupQuotaCores(const std::string& cgroup_root, const std::string& self_cgroup) {
  int cores = 0;
  std::istringstream lines(self_cgroup);
  for (std::string line; std::getline(lines, line);) {
    // hierarchy-ID:controllers:path
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string group = line.substr(second + 1);
    if (group == "/") group.clear();
    if (controllers.empty()) {
      cores = Tightest(cores, TightestUpwards(cgroup_root, group, [](const std::string& folder) {
                         std::istringstream max(ReadAll(folder + "/cpu.max"));
                         std::string quota, period;
                         max >> quota >> period;
                         return Cores(quota, period);
                       }));
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      cores = Tightest(cores, TightestUpwards(cgroup_root + "/cpu", group, [](const std::string& f) {
                         return Cores(ReadAll(f + "/cpu.cfs_quota_us"), ReadAll(f + "/cpu.cfs_period_us"));
                       }));
    }
  }
  return cores;
}

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int affinity = 1;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) affinity = std::max(1, CPU_COUNT(&set));
  return Tightest(affinity, CgroupQuotaCores("/sys/fs/cgroup", ReadAll("/proc/self/cgroup")));
}

}  // namespace falaj

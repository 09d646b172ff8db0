// How many cores this process may use, which on an edge box or in a container is seldom what the machine has.
#pragma once

#include <string>

namespace falaj {

// The smaller of the scheduling affinity and the cgroup CPU quota (v1 and v2, rounded up), at least 1.
[[nodiscard]] int UsableCores();

// The quota part alone, from a mounted cgroup tree and the text of /proc/self/cgroup; 0 where there is no
// quota. Apart so that it can be tested on files.
[[nodiscard]] int CgroupQuotaCores(const std::string& cgroup_root, const std::string& self_cgroup);

}  // namespace falaj

// Any queue and limits: the picked batch keeps its promises (batch/decision.h).
#include <cstdlib>
#include <vector>

#include "batch/decision.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const int64_t max_rows = 1 + data[0];
  const int idle = 1 + data[1] % 16;
  falaj::CostCurve curve;
  curve.Add(1 + data[2], falaj::Nanos(1 + data[3]));
  std::vector<falaj::Waiting> queue;
  int64_t all = 0;
  for (size_t i = 4; i + 1 < size; i += 2) {
    queue.push_back({data[i], data[i + 1]});
    all += data[i];
  }
  if (queue.empty()) return 0;
  const int parts = falaj::SplitInto(all, {max_rows, idle}, curve);
  if (parts < 1 || parts > idle) std::abort();
  std::vector<uint32_t> picks;
  falaj::PickBatch(queue, max_rows, picks);
  if (picks.empty() || picks[0] != 0) std::abort();
  int64_t rows = 0;
  for (size_t i = 0; i < picks.size(); ++i) {
    if (i > 0 && picks[i] <= picks[i - 1]) std::abort();
    if (queue[picks[i]].signature != queue[0].signature) std::abort();
    rows += queue[picks[i]].rows;
  }
  if (picks.size() > 1 && rows > max_rows) std::abort();
  return 0;
}

#include "backend/trial.h"

#include <atomic>
#include <thread>

namespace falaj {
namespace {

Status RunOnce(Backend& backend, Instance& instance, std::span<const TensorView> inputs) {
  std::vector<TensorView> outputs;
  for (const TensorSpec& spec : backend.Describe().outputs) outputs.push_back({spec.type, {}, nullptr});
  std::vector<std::shared_ptr<void>> owners;
  return instance.Run({inputs, outputs, &owners});
}

}  // namespace

Result<TrialResult> MeasureThroughput(Backend& backend, std::span<const TensorView> inputs, int64_t rows,
                                      int instances, Nanos budget) {
  std::vector<std::unique_ptr<Instance>> all;
  for (int i = 0; i < instances; ++i) {
    auto instance = backend.NewInstance();
    if (!instance.ok()) return instance.status();
    FALAJ_RETURN_IF_ERROR(RunOnce(backend, **instance, inputs));
    all.push_back(std::move(instance.value()));
  }
  std::vector<Status> statuses(all.size());
  std::atomic<int64_t> runs{0};
  const TimePoint begin = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < all.size(); ++i) {
      threads.emplace_back([&, i] {
        do {
          statuses[i] = RunOnce(backend, *all[i], inputs);
          runs.fetch_add(1, std::memory_order_relaxed);
        } while (statuses[i].ok() && std::chrono::steady_clock::now() - begin < budget);
      });
    }
  }
  const Nanos elapsed = std::chrono::steady_clock::now() - begin;
  for (Status& status : statuses) FALAJ_RETURN_IF_ERROR(std::move(status));
  TrialResult result;
  result.runs = runs.load();
  const double seconds = static_cast<double>(elapsed.count()) / 1e9;
  result.rows_per_second = static_cast<double>(result.runs * rows) / seconds;
  result.per_run = Nanos(elapsed.count() * instances / std::max<int64_t>(1, result.runs));
  return result;
}

}  // namespace falaj

#include <algorithm>
#include <thread>

#include "loads.h"

namespace falaj::bench {
namespace {

struct Sample {
  double queue_ms;
  double latency_ms;
};

// Records every answer. `scheduled` is indexed by tag and complete before the requests are made.
class Recorder final : public CompletionSink {
 public:
  explicit Recorder(const std::vector<TimePoint>* scheduled) : scheduled_(scheduled) {}
  void Deliver(std::span<Request* const> done) override {
    MutexLock lock(mu_);
    for (Request* request : done) {
      const auto ms = [](Nanos t) { return static_cast<double>(t.count()) / 1e6; };
      if (request->status().ok()) {
        samples_.push_back({ms(request->started() - request->arrived),
                            ms(request->finished() - (*scheduled_)[request->tag])});
      }
      request->Unref();
      ++delivered_;
    }
    changed_.NotifyAll();
  }
  std::vector<Sample> WaitFor(size_t requests) {
    MutexLock lock(mu_);
    while (delivered_ < requests) changed_.Wait(mu_);
    return samples_;
  }

 private:
  const std::vector<TimePoint>* const scheduled_;
  Mutex mu_;
  CondVar changed_;
  std::vector<Sample> samples_ GUARDED_BY(mu_);
  size_t delivered_ GUARDED_BY(mu_) = 0;
};

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto index = static_cast<size_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index), values.end());
  return values[index];
}

template <typename Get>
std::vector<double> Column(const std::vector<Sample>& samples, Get get) {
  std::vector<double> values;
  for (const Sample& sample : samples) values.push_back(get(sample));
  return values;
}

}  // namespace

OpenResult RunOpen(const Settings& settings, double rate) {
  ModelUnderTest model(settings);
  std::mt19937_64 generator(7);
  std::exponential_distribution<double> gap(rate);
  std::vector<TimePoint> scheduled;
  const TimePoint begin = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  for (double at = gap(generator); at < settings.seconds; at += gap(generator)) {
    scheduled.push_back(begin + Nanos(static_cast<int64_t>(at * 1e9)));
  }
  const auto recorder = std::make_shared<Recorder>(&scheduled);
  std::vector<double> refusals;
  std::vector<double> late;
  size_t accepted = 0;
  for (size_t i = 0; i < scheduled.size(); ++i) {
    std::this_thread::sleep_until(scheduled[i]);
    const TimePoint before = std::chrono::steady_clock::now();
    const bool ok = model.Submit(recorder, i).ok();
    model.batcher().Flush(Batcher::RunHere::kNever);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - before;
    late.push_back(std::chrono::duration<double, std::milli>(before - scheduled[i]).count());
    if (ok) {
      ++accepted;
    } else {
      refusals.push_back(took.count());
    }
  }
  const std::vector<Sample> samples = recorder->WaitFor(accepted);
  // Answers to the last arrivals come after the window: their time counts too, or overload would look good.
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const ModelStats stats = model.batcher().Stats();
  const auto good = std::count_if(samples.begin(), samples.end(), [&](const Sample& sample) {
    return settings.slo_ms <= 0 || sample.latency_ms <= settings.slo_ms;
  });
  const std::vector<double> queue = Column(samples, [](const Sample& s) { return s.queue_ms; });
  const std::vector<double> latency = Column(samples, [](const Sample& s) { return s.latency_ms; });
  OpenResult result;
  result.offered_per_second = static_cast<double>(scheduled.size()) / settings.seconds;
  result.answered_per_second = static_cast<double>(samples.size()) / elapsed;
  result.good_per_second = static_cast<double>(good) / elapsed;
  result.refused_share = static_cast<double>(refusals.size()) / static_cast<double>(scheduled.size());
  result.queue_p50_ms = Quantile(queue, 0.5);
  result.queue_p99_ms = Quantile(queue, 0.99);
  result.queue_p999_ms = Quantile(queue, 0.999);
  result.latency_p50_ms = Quantile(latency, 0.5);
  result.latency_p99_ms = Quantile(latency, 0.99);
  result.refusal_p99_ms = Quantile(refusals, 0.99);
  result.refusal_max_ms = Quantile(refusals, 1.0);
  result.rows_per_batch =
      static_cast<double>(stats.rows) / static_cast<double>(std::max<uint64_t>(1, stats.batches));
  result.late_arrivals_p99_ms = Quantile(late, 0.99);
  return result;
}

}  // namespace falaj::bench

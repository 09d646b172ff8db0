// One model loaded as the engine loads it, without Python: what the benchmarks drive.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/ort_backend.h"
#include "batch/batcher.h"

namespace falaj::bench {

struct Settings {
  std::string library;  // libonnxruntime.so
  std::string model;    // model.onnx; one FP32 input with a variable first dimension
  int64_t max_batch = 64;
  int instances = 2;
  int intra_op = 1;
  int64_t max_queue_rows = 1 << 16;
  double slo_ms = 0;
  double seconds = 3;
};

class ModelUnderTest {
 public:
  // Exits the process with a message where the model cannot be loaded: there is nothing to measure then.
  explicit ModelUnderTest(const Settings& settings);
  ~ModelUnderTest();
  ModelUnderTest(const ModelUnderTest&) = delete;
  ModelUnderTest& operator=(const ModelUnderTest&) = delete;

  Batcher& batcher() { return *batcher_; }
  // Shape of a request of `rows` rows.
  Shape ShapeOf(int64_t rows) const;
  // Admits and fills a one-row request.
  Result<RefPtr<Request>> Prepare(const std::shared_ptr<CompletionSink>& sink, uint64_t tag);
  // Prepares and enqueues one. The caller flushes.
  Status Submit(const std::shared_ptr<CompletionSink>& sink, uint64_t tag);

  // CPU and wall seconds per row of ONNX Runtime alone at this batch, on `threads` threads.
  struct Bare {
    double cpu_us_per_row;
    double rows_per_second;
  };
  static Bare MeasureBare(const Settings& settings, int64_t rows, int threads);

 private:
  static std::unique_ptr<Backend> Load(const Settings& settings);

  SteadyClock clock_;
  ExecutorPool pool_;
  DeadlineTimer timer_;
  std::shared_ptr<Batcher> batcher_;
  std::vector<float> row_;
};

// User and system CPU time of this process so far, in seconds.
double CpuSeconds();

}  // namespace falaj::bench

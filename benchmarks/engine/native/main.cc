// falaj_engine_bench closed|bare|open key=value ...: one measurement, one JSON line. benchmarks/engine/run.py
// calls it, many times and in turn with its peers.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "loads.h"

namespace {

using namespace falaj::bench;

class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
      const std::string text = argv[i];
      const size_t equals = text.find('=');
      if (equals != std::string::npos) values_[text.substr(0, equals)] = text.substr(equals + 1);
    }
  }
  std::string Text(const char* key, const char* otherwise = "") const {
    const auto found = values_.find(key);
    return found == values_.end() ? otherwise : found->second;
  }
  double Number(const char* key, double otherwise) const {
    const auto found = values_.find(key);
    return found == values_.end() ? otherwise : std::strtod(found->second.c_str(), nullptr);
  }

 private:
  std::map<std::string, std::string> values_;
};

Client ClientOf(const std::string& name) {
  if (name == "blocking") return Client::kBlocking;
  return name == "callback" ? Client::kCallback : Client::kEventLoop;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const Arguments arguments(argc, argv);
  Settings settings;
  settings.library = arguments.Text("library");
  settings.model = arguments.Text("model");
  settings.max_batch = static_cast<int64_t>(arguments.Number("max_batch", 64));
  settings.instances = static_cast<int>(arguments.Number("instances", 2));
  settings.intra_op = static_cast<int>(arguments.Number("intra_op", 1));
  settings.slo_ms = arguments.Number("slo_ms", 0);
  settings.seconds = arguments.Number("seconds", 3);
  const int threads = static_cast<int>(arguments.Number("threads", 2));
  if (what == "closed") {
    const auto r = RunClosed(settings, ClientOf(arguments.Text("client", "event-loop")), threads,
                             static_cast<int>(arguments.Number("inflight", 64)));
    std::printf(
        "{\"requests_per_second\": %.1f, \"cpu_us_per_request\": %.3f, \"rows_per_batch\": %.2f, "
        "\"on_submitter\": %.3f}\n",
        r.requests_per_second, r.cpu_us_per_request, r.rows_per_batch, r.on_submitter);
  } else if (what == "bare") {
    const auto r =
        ModelUnderTest::MeasureBare(settings, static_cast<int64_t>(arguments.Number("rows", 1)), threads);
    std::printf("{\"cpu_us_per_row\": %.4f, \"rows_per_second\": %.1f}\n", r.cpu_us_per_row,
                r.rows_per_second);
  } else if (what == "open") {
    const auto r = RunOpen(settings, arguments.Number("rate", 1000));
    std::printf(
        "{\"offered_per_second\": %.1f, \"answered_per_second\": %.1f, \"good_per_second\": %.1f, "
        "\"refused_share\": %.4f, \"queue_p50_ms\": %.3f, \"queue_p99_ms\": %.3f, \"queue_p999_ms\": %.3f, "
        "\"latency_p50_ms\": %.3f, \"latency_p99_ms\": %.3f, \"refusal_p99_ms\": %.4f, "
        "\"refusal_max_ms\": %.4f, \"rows_per_batch\": %.2f, \"late_arrivals_p99_ms\": %.3f}\n",
        r.offered_per_second, r.answered_per_second, r.good_per_second, r.refused_share, r.queue_p50_ms,
        r.queue_p99_ms, r.queue_p999_ms, r.latency_p50_ms, r.latency_p99_ms, r.refusal_p99_ms,
        r.refusal_max_ms, r.rows_per_batch, r.late_arrivals_p99_ms);
  } else {
    std::fprintf(stderr,
                 "usage: falaj_engine_bench closed|bare|open library=... model=... [key=value ...]\n");
    return 2;
  }
  return 0;
}

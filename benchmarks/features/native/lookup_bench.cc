// Look-ups in the embedded store from C++: random keys, FP32 columns. Prints JSON.
//   falaj_lookup_bench FOLDER ENTITIES COLUMNS LOOKUPS
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>

#include "join/lmdb_store.h"

namespace falaj {
namespace {

constexpr size_t kMapBytes = size_t{1} << 40;
constexpr size_t kChunk = 20'000;

[[noreturn]] void Fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

void Fill(OnlineView& view, size_t entities, size_t columns) {
  for (size_t begin = 0; begin < entities; begin += kChunk) {
    const size_t count = std::min(kChunk, entities - begin);
    std::vector<int64_t> ids(count);
    std::iota(ids.begin(), ids.end(), static_cast<int64_t>(begin));
    const std::vector<int64_t> times(count, 0);
    const std::vector<uint8_t> deleted(count, 0);
    std::vector<float> values(count);
    std::transform(ids.begin(), ids.end(), values.begin(), [](int64_t id) { return static_cast<float>(id); });
    const ColumnData key{DataType::kInt64, reinterpret_cast<const std::byte*>(ids.data()), nullptr};
    const ColumnData column{DataType::kFp32, reinterpret_cast<const std::byte*>(values.data()), nullptr};
    const std::vector<ColumnData> all(columns, column);
    const auto written = view.Write({{&key, 1}, times, times, times, deleted, all}, 0, std::nullopt);
    if (!written.ok()) Fail(written.status());
  }
}

// Prints p50 and p99 in µs of `lookups` look-ups of `batch` entities each.
void Measure(OnlineView& view, size_t entities, size_t batch, size_t lookups) {
  std::mt19937_64 random(batch);
  std::vector<int64_t> ids(batch);
  std::vector<double> micros;
  micros.reserve(lookups);
  FeatureColumns out;
  const ColumnData key{DataType::kInt64, reinterpret_cast<const std::byte*>(ids.data()), nullptr};
  const size_t warm_up = lookups / 10;
  for (size_t i = 0; i < warm_up + lookups; ++i) {
    for (int64_t& id : ids) id = static_cast<int64_t>(random() % entities);
    const auto begin = std::chrono::steady_clock::now();
    const Status status = view.Read({&key, 1}, batch, 1, out);
    const auto end = std::chrono::steady_clock::now();
    if (!status.ok()) Fail(status);
    const auto* values = reinterpret_cast<const float*>(out.column(0).data());
    if (values[batch - 1] != static_cast<float>(ids[batch - 1]))
      Fail(Internal("a look-up found another's value"));
    if (i >= warm_up) micros.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
  }
  std::sort(micros.begin(), micros.end());
  std::printf("\"%zu\": {\"p50\": %.2f, \"p99\": %.2f}", batch, micros[micros.size() / 2],
              micros[micros.size() * 99 / 100]);
}

}  // namespace
}  // namespace falaj

int main(int argc, char** argv) {
  using namespace falaj;
  if (argc != 5) Fail(InvalidInput("expected FOLDER ENTITIES COLUMNS LOOKUPS"));
  const size_t entities = std::strtoull(argv[2], nullptr, 10), columns = std::strtoull(argv[3], nullptr, 10);
  const size_t lookups = std::strtoull(argv[4], nullptr, 10);
  if (entities == 0 || columns == 0 || lookups == 0) Fail(InvalidInput("expected numbers above 0"));
  auto store = LmdbStore::Open(argv[1], kMapBytes);
  if (!store.ok()) Fail(store.status());
  ViewSpec spec{"lookup", 1, "", {{"id", DataType::kInt64}}, {}, 0, {}};
  for (size_t i = 0; i < columns; ++i) spec.columns.push_back({"f" + std::to_string(i), DataType::kFp32});
  auto view = (*store)->OpenView(spec);
  if (!view.ok()) Fail(view.status());
  Fill(**view, entities, columns);
  std::printf("{");
  Measure(**view, entities, 1, lookups);
  std::printf(", ");
  Measure(**view, entities, 100, lookups / 10 + 1);
  std::printf("}\n");
  return 0;
}

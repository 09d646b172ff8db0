// Look-ups in an online store from C++: random keys, FP32 columns. Prints JSON.
//   falaj_lookup_bench FOLDER ENTITIES COLUMNS LOOKUPS       LMDB, beside the library alone
//   falaj_lookup_bench redis:PORT ENTITIES COLUMNS LOOKUPS   this machine's Redis, beside hiredis alone, and
//                                                            while another client writes
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <thread>

#include "bare_lmdb.h"
#include "bare_redis.h"
#include "join/lmdb_store.h"
#include "join/redis_store.h"

namespace falaj {
namespace {

constexpr size_t kMapBytes = size_t{1} << 40;
constexpr size_t kChunkBytes = size_t{20} << 20;  // of values, where a store is filled
constexpr std::string_view kRedis = "redis:";
constexpr std::chrono::seconds kPatience{10};

[[noreturn]] void Fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

// Writes the entities from `begin` on, each with its number in every column, as of `time`.
void WriteChunk(OnlineView& view, size_t begin, size_t count, size_t columns, int64_t time) {
  std::vector<int64_t> ids(count);
  std::iota(ids.begin(), ids.end(), static_cast<int64_t>(begin));
  const std::vector<int64_t> times(count, time);
  const std::vector<uint8_t> deleted(count, 0);
  std::vector<float> values(count);
  std::transform(ids.begin(), ids.end(), values.begin(), [](int64_t id) { return static_cast<float>(id); });
  const ColumnData key{DataType::kInt64, reinterpret_cast<const std::byte*>(ids.data()), nullptr};
  const ColumnData column{DataType::kFp32, reinterpret_cast<const std::byte*>(values.data()), nullptr};
  const std::vector<ColumnData> all(columns, column);
  const auto written = view.Write({{&key, 1}, times, times, times, deleted, all}, time, std::nullopt);
  if (!written.ok()) Fail(written.status());
}

void Fill(OnlineView& view, size_t entities, size_t columns) {
  const size_t chunk = std::max<size_t>(1, kChunkBytes / (columns * sizeof(float)));
  for (size_t begin = 0; begin < entities; begin += chunk) {
    WriteChunk(view, begin, std::min(chunk, entities - begin), columns, 0);
  }
}

class Micros {
 public:
  // Times `work`.
  template <typename Work>
  void Time(Work work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const auto end = std::chrono::steady_clock::now();
    taken_.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
  }
  // Forgets what was the first tenth, to warm up, and prints the rest.
  void Print(const char* name) {
    taken_.erase(taken_.begin(), taken_.begin() + static_cast<std::ptrdiff_t>(taken_.size() / 10));
    std::sort(taken_.begin(), taken_.end());
    std::printf("\"%s\": {\"p50\": %.2f, \"p99\": %.2f, \"max\": %.2f}", name, taken_[taken_.size() / 2],
                taken_[taken_.size() * 99 / 100], taken_.back());
  }

 private:
  std::vector<double> taken_;
};

// Asks for entities without Falaj; returns the bytes that came.
using Bare = std::function<size_t(std::span<const int64_t>)>;

// Look-ups of random entities, in turn by the store and by what is below it alone.
class LookUps {
 public:
  LookUps(OnlineView& view, size_t entities, size_t batch)
      : view_(view), entities_(entities), ids_(batch), random_(batch) {}

  void Run(size_t lookups, const Bare& bare) {
    for (size_t i = 0; i < lookups; ++i) {
      One();
      Draw();  // others: the caches have those now
      bare_.Time([&] { bytes_ += bare(ids_); });
    }
  }
  void One() {
    Draw();
    const ColumnData key{DataType::kInt64, reinterpret_cast<const std::byte*>(ids_.data()), nullptr};
    Status status;
    store_.Time([&] { status = view_.Read({&key, 1}, ids_.size(), int64_t{1} << 60, out_); });
    if (!status.ok()) Fail(status);
    const auto* values = reinterpret_cast<const float*>(out_.column(0).data());
    if (values[ids_.size() - 1] != static_cast<float>(ids_.back()))
      Fail(Internal("a look-up found another's value"));
  }
  void Print(const std::string& name) {
    store_.Print(name.c_str());
    if (bytes_ == 0) return;
    std::printf(", ");
    bare_.Print(("bare " + name).c_str());
  }

 private:
  void Draw() {
    for (int64_t& id : ids_) id = static_cast<int64_t>(random_() % entities_);
  }

  OnlineView& view_;
  const size_t entities_;
  std::vector<int64_t> ids_;
  std::mt19937_64 random_;
  FeatureColumns out_;
  Micros store_, bare_;
  size_t bytes_ = 0;
};

// Look-ups of a hundred while a second client writes as much at once as the view says.
void RunBesideWriter(OnlineView& view, OnlineView& written, size_t entities, size_t columns) {
  constexpr size_t kRow = 40;  // a row's times and key; as features/online/materialize.py reckons
  const size_t row = kRow + columns * (sizeof(float) + 1);
  const size_t count = std::min(entities, std::max<size_t>(1, written.WriteBytes() / row));
  LookUps lookups(view, entities, 100);
  std::atomic<bool> done{false};
  Micros writes;
  std::thread writer([&] {
    for (int64_t time = 1; time <= 20; ++time) {
      writes.Time([&] { WriteChunk(written, 0, count, columns, time); });
    }
    done = true;
  });
  while (!done) lookups.One();
  writer.join();
  lookups.Print("100 beside a writer");
  std::printf(", ");
  writes.Print("a write");
}

std::unique_ptr<OnlineStore> Open(std::string_view where) {
  if (where.starts_with(kRedis)) {
    RedisOptions options;
    options.host = "127.0.0.1";
    options.port = static_cast<uint16_t>(std::strtoul(where.data() + kRedis.size(), nullptr, 10));
    options.read_timeout = kPatience;
    auto store = RedisStore::Open(std::move(options));
    if (!store.ok()) Fail(store.status());
    return std::move(*store);
  }
  auto store = LmdbStore::Open(std::string(where), kMapBytes);
  if (!store.ok()) Fail(store.status());
  return std::move(*store);
}

Bare BareOf(std::string_view where, const ViewSpec& spec) {
  if (where.starts_with(kRedis)) {
    const auto port = static_cast<uint16_t>(std::strtoul(where.data() + kRedis.size(), nullptr, 10));
    auto redis = std::make_shared<BareRedis>(port, KeysOf(spec.name, spec.version, Describe(spec)).rows);
    return [redis](std::span<const int64_t> ids) { return redis->Ask(ids); };
  }
  const std::string name = spec.name + "@" + std::to_string(spec.version);
  auto lmdb = std::make_shared<BareLmdb>(std::string(where), name);
  return [lmdb](std::span<const int64_t> ids) { return lmdb->Ask(ids); };
}

void Run(std::string_view where, size_t entities, size_t columns, size_t lookups) {
  const auto store = Open(where), other = Open(where);
  ViewSpec spec{"lookup", 1, "", {{"id", DataType::kInt64}}, {}, 0, {}};
  for (size_t i = 0; i < columns; ++i) spec.columns.push_back({"f" + std::to_string(i), DataType::kFp32});
  auto view = store->OpenView(spec), written = other->OpenView(spec);
  if (!view.ok() || !written.ok()) Fail(view.ok() ? written.status() : view.status());
  Fill(**view, entities, columns);
  const bool shared = where.starts_with(kRedis);
  const Bare bare = BareOf(where, spec);
  std::printf("{");
  for (const size_t batch : {size_t{1}, size_t{100}}) {
    LookUps of(**view, entities, batch);
    of.Run((batch == 1 ? lookups : lookups / 10 + 1) * 10 / 9 + 1, bare);
    of.Print(std::to_string(batch));
    std::printf(batch == 1 ? ", " : "");
  }
  if (shared) {
    std::printf(", ");
    RunBesideWriter(**view, **written, entities, columns);
  }
  std::printf("}\n");
}

}  // namespace
}  // namespace falaj

int main(int argc, char** argv) {
  using namespace falaj;
  if (argc != 5) Fail(InvalidInput("expected FOLDER or redis:PORT, then ENTITIES COLUMNS LOOKUPS"));
  const size_t entities = std::strtoull(argv[2], nullptr, 10), columns = std::strtoull(argv[3], nullptr, 10);
  const size_t lookups = std::strtoull(argv[4], nullptr, 10);
  if (entities == 0 || columns == 0 || lookups == 0) Fail(InvalidInput("expected numbers above 0"));
  Run(argv[1], entities, columns, lookups);
  return 0;
}

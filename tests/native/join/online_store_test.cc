#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <limits>
#include <random>
#include <thread>

#include "join/frontier.h"
#include "join/lmdb_store.h"

namespace falaj {
namespace {

constexpr size_t kMapBytes = size_t{64} << 20;

class OnlineStoreTest : public ::testing::Test {
 protected:
  OnlineStoreTest() {
    std::string name = ::testing::TempDir() + "falaj_store_XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~OnlineStoreTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<LmdbStore> Open() { return LmdbStore::Open(folder_, kMapBytes).value(); }

  static ViewSpec Spec() {
    return {"v", 1, "hash", {{"k", DataType::kInt64}}, {{"x", DataType::kFp32}, {"t", DataType::kBytes}},
            0,   {}};
  }

  std::string folder_;
};

ColumnData Column(DataType type, const void* data) {
  return {type, static_cast<const std::byte*>(data), nullptr};
}

// Every key gets the value `turn`, in one write.
Status WriteTurn(OnlineView& view, const std::vector<int64_t>& ids, int64_t turn) {
  const std::vector<int64_t> times(ids.size(), turn);
  const std::vector<uint8_t> deleted(ids.size(), 0);
  const std::vector<float> x(ids.size(), static_cast<float>(turn));
  const std::string text = std::to_string(turn);
  const std::vector<std::string_view> t(ids.size(), text);
  const ColumnData keys[] = {Column(DataType::kInt64, ids.data())};
  const ColumnData columns[] = {Column(DataType::kFp32, x.data()), Column(DataType::kBytes, t.data())};
  return view.Write({keys, times, times, times, deleted, columns}, turn, std::nullopt).status();
}

TEST_F(OnlineStoreTest, ReadersSeeWholeWritesWhileAnotherThreadWrites) {
  auto store = Open();
  auto view = store->OpenView(Spec()).value();
  std::vector<int64_t> ids(50);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  ASSERT_TRUE(WriteTurn(*view, ids, 1).ok());
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  std::atomic<int> failures{0}, reads{0};
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      FeatureColumns out;
      const ColumnData keys[] = {Column(DataType::kInt64, ids.data())};
      while (!done) {
        if (!view->Read(keys, ids.size(), 1000, out).ok()) ++failures;
        const auto* x = reinterpret_cast<const float*>(out.column(0).data());
        const auto* t = reinterpret_cast<const std::string_view*>(out.column(1).data());
        for (size_t i = 0; i < ids.size(); ++i) {
          if (x[i] != x[0] || t[i] != std::to_string(static_cast<int>(x[0]))) ++failures;
        }
        ++reads;
      }
    });
  }
  for (int64_t turn = 2; turn < 50; ++turn) ASSERT_TRUE(WriteTurn(*view, ids, turn).ok());
  while (reads < 4) std::this_thread::yield();
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(failures, 0);
}

TEST_F(OnlineStoreTest, ViewWorksAfterItsStoreIsClosedAndOpenedAgain) {
  auto view = Open()->OpenView(Spec()).value();
  ASSERT_TRUE(WriteTurn(*view, {7}, 3).ok());
  view.reset();
  auto again = Open()->OpenView(Spec()).value();
  EXPECT_EQ(again->Entities().value(), 1U);
}

TEST_F(OnlineStoreTest, OpeningFailsWhenTheFormatIsAnother) {
  Open().reset();
  {
    auto env = LmdbEnvironment::Open(folder_, kMapBytes).value();
    LmdbWrite txn(*env);
    ASSERT_TRUE(txn.Begin().ok());
    MDB_dbi meta = 0;
    ASSERT_EQ(mdb_dbi_open(txn.get(), "meta", 0, &meta), 0);
    ASSERT_TRUE(txn.Put(meta, "format", "99").ok());
    ASSERT_TRUE(txn.Commit().ok());
  }
  const auto store = LmdbStore::Open(folder_, kMapBytes);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.status().code(), Code::kUnsupported);
  EXPECT_EQ(store.status().message(), "online store: expected format 1, got 99");
}

TEST(FrontierTest, DamagedValuesAreRefusedAndNeverReadPastTheirEnd) {
  const std::vector<ColumnSpec> columns = {{"x", DataType::kFp32}, {"t", DataType::kBytes}};
  const RowLayout layout(columns);
  const float x = 1.5F;
  const std::string_view t = "text";
  const ColumnData data[] = {Column(DataType::kFp32, &x), Column(DataType::kBytes, &t)};
  std::vector<std::byte> row, value;
  ASSERT_TRUE(layout.Encode(data, 0, row).ok());
  const std::vector<Entry> entries = {{1, 1, 1, 0, false, row}, {2, 2, 2, 0, true, {}}};
  EncodeEntries(entries, value);
  std::optional<Entry> found;
  ASSERT_TRUE(FindVisible(value, layout, 1, found));
  EXPECT_EQ(RowLayout::Text(found->row, layout.slots()[1]), "text");
  for (size_t size = 0; size < value.size(); ++size) {
    const std::vector<std::byte> cut(value.begin(), value.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(FindVisible(cut, layout, 2, found)) << size;
  }
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {  // the sanitizers watch
    std::vector<std::byte> bad = value;
    bad[random() % bad.size()] = static_cast<std::byte>(random());
    if (FindVisible(bad, layout, 2, found) && found && !found->deleted) (void)layout.Compare(found->row, row);
  }
}

TEST(FrontierTest, TimesBeyondTheLastAreTheLast) {
  constexpr int64_t kLast = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(VisibleFrom(1, kLast - 1, 5), kLast);
  EXPECT_EQ(VisibleFrom(9, 2, 5), 9);
  EXPECT_EQ(VisibleFrom(1, 2, 5), 7);
}

}  // namespace
}  // namespace falaj

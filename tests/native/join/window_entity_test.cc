#include "join/window_entity.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "fakes/allocations.h"
#include "join/lmdb_store.h"

namespace falaj {
namespace {

constexpr size_t kMapBytes = size_t{64} << 20;
constexpr int64_t kTile = 1000;

ViewSpec Spec() {
  using join::Function, join::Kind;
  ViewSpec spec{"spending", 1, "hash", {{"id", DataType::kInt64}}, {}, 0, {}};
  spec.windowed =
      Windowed{{{"amount", DataType::kFp32}, {"shop", DataType::kBytes}, {"order", DataType::kBytes}},
               true,
               {{Kind::kFloat, Kind::kText}, {}, 0}};
  for (const auto& [name, type, function, column] : {std::tuple("sum", DataType::kFp64, Function::kSum, 0),
                                                     {"std", DataType::kFp64, Function::kStd, 0},
                                                     {"mean", DataType::kFp64, Function::kMean, 0},
                                                     {"max", DataType::kFp32, Function::kMax, 0},
                                                     {"shops", DataType::kInt64, Function::kDistinct, 1},
                                                     {"shop", DataType::kBytes, Function::kLast, 1}}) {
    spec.columns.push_back({name, type});
    spec.windowed->spec.aggregates.push_back({function, column, 100 * kTile, kTile});
  }
  return spec;
}

ColumnData Column(DataType type, const void* data) {
  return {type, static_cast<const std::byte*>(data), nullptr};
}

// An event a tile, of each entity, numbered from 0.
struct Orders {
  explicit Orders(size_t entities, size_t each) {
    for (size_t i = 0; i < entities * each; ++i) {
      ids.push_back(static_cast<int64_t>(i % entities));
      times.push_back(static_cast<int64_t>(i / entities) * kTile);
      amounts.push_back(static_cast<float>(i) / 3);
      texts.push_back("a shop of a name that is long, number " + std::to_string(i % 7));
      orders.push_back(std::to_string(i));
    }
    shops.assign(texts.begin(), texts.end());
    numbers.assign(orders.begin(), orders.end());
    deleted.resize(ids.size());
  }
  Result<size_t> WriteTo(OnlineView& view, int64_t now) const {
    const ColumnData keys[] = {Column(DataType::kInt64, ids.data())};
    const ColumnData columns[] = {Column(DataType::kFp32, amounts.data()),
                                  Column(DataType::kBytes, shops.data()),
                                  Column(DataType::kBytes, numbers.data())};
    return view.Write({keys, times, times, times, deleted, columns}, now, std::nullopt);
  }
  std::vector<int64_t> ids, times;
  std::vector<float> amounts;
  std::vector<std::string> texts, orders;
  std::vector<std::string_view> shops, numbers;
  std::vector<uint8_t> deleted;
};

class WindowEntityTest : public ::testing::Test {
 protected:
  WindowEntityTest() {
    std::string name = ::testing::TempDir() + "falaj_windows_XXXXXX";
    folder_ = mkdtemp(name.data());
    store_ = LmdbStore::Open(folder_, kMapBytes).value();
  }
  ~WindowEntityTest() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string folder_;
  std::unique_ptr<LmdbStore> store_;
};

TEST_F(WindowEntityTest, EventsCountOnceWhenTheyAreWrittenAgain) {
  const auto view = store_->OpenView(Spec()).value();
  const Orders orders(3, 10);
  EXPECT_EQ(orders.WriteTo(*view, 5000).value(), 3U);
  EXPECT_EQ(orders.WriteTo(*view, 9000).value(), 0U);
  FeatureColumns out;
  const int64_t id = 2;
  const ColumnData keys[] = {Column(DataType::kInt64, &id)};
  ASSERT_TRUE(view->Read(keys, 1, 9 * kTile, out).ok());
  EXPECT_EQ(*reinterpret_cast<const float*>(out.column(3).data()), orders.amounts[29]);
  EXPECT_EQ(*reinterpret_cast<const int64_t*>(out.column(4).data()), 7);
  EXPECT_EQ(*reinterpret_cast<const std::string_view*>(out.column(5).data()), orders.texts[29]);
}

TEST_F(WindowEntityTest, DamagedValueIsRefusedWithTheNameOfTheView) {
  const ViewSpec spec = Spec();
  const RowLayout layout(spec.columns);
  FeatureColumns out;
  out.Reset(layout, 1);
  const Status status = TakeWindows("no state", spec, layout, 0, 0, out);
  EXPECT_EQ(status.message(), "view spending@1: window state: is of another definition or format");
  const Orders orders(1, 1);
  const std::vector<size_t> order = {0};
  EXPECT_FALSE(MergeWindows("no state", spec, {}, order, 0).ok());
}

TEST_F(WindowEntityTest, SpecIsRefusedWhenItsColumnsAreNotWhatItsWindowsHave) {
  const auto refused = [this](auto change) {
    ViewSpec spec = Spec();
    change(spec);
    return store_->OpenView(spec).status().message();
  };
  EXPECT_EQ(refused([](ViewSpec& of) { of.columns[0].type = DataType::kFp32; }),
            "view spending@1, column 'sum': expected FP64, got FP32");
  EXPECT_EQ(refused([](ViewSpec& of) { of.windowed->inputs[0].type = DataType::kUint64; }),
            "view spending@1, column 'amount': UINT64 cannot be summed up over windows");
  EXPECT_EQ(refused([](ViewSpec& of) { of.windowed->inputs[2].type = DataType::kInt64; }),
            "view spending@1, column 'order': expected BYTES for the events' ids, got INT64");
  EXPECT_EQ(refused([](ViewSpec& of) { of.windowed->inputs[0].type = DataType::kInt8; }),
            "view spending@1, column 'amount': is not of the kind that its windows have");
  EXPECT_EQ(refused([](ViewSpec& of) { of.columns.pop_back(); }),
            "view spending@1: expected a column for each aggregate, and a kind for each input");
  EXPECT_EQ(refused([](ViewSpec& of) { of.ttl_us = 1; }),
            "view spending@1: expected no ttl beside aggregates");
  EXPECT_NE(refused([](ViewSpec& of) { of.windowed->spec.aggregates[0].tile = 1; }).find("whole tiles"),
            std::string::npos);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(WindowEntityTest, ReadAllocatesNothingWhenAsMuchWasReadBefore) {
  const auto view = store_->OpenView(Spec()).value();
  ASSERT_TRUE(Orders(40, 200).WriteTo(*view, 150 * kTile).ok());
  std::vector<int64_t> ids(50);
  std::iota(ids.begin(), ids.end(), int64_t{0});  // the last ten are not stored
  const ColumnData keys[] = {Column(DataType::kInt64, ids.data())};
  FeatureColumns out;
  bool ok = true;
  const auto read = [&] {
    for (const int64_t now : {150, 180, 230, 500}) ok = ok && view->Read(keys, 50, now * kTile, out).ok();
  };
  EXPECT_GT(test::CountAllocations(read), 0);
  EXPECT_EQ(test::CountAllocations(read), 0);
  EXPECT_TRUE(ok);
}
#endif

}  // namespace
}  // namespace falaj

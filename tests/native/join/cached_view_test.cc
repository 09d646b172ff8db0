// What serves when a shared store does not answer: what it told before, while that is fresh enough.
#include "join/cached_view.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <optional>
#include <thread>

#include "join/frontier.h"

namespace falaj {
namespace {

using namespace std::chrono_literals;

std::atomic<int64_t> clock_ms{0};
TimePoint Now() { return TimePoint(std::chrono::milliseconds(clock_ms.load())); }

ViewSpec Spec() {
  return {"v", 1,   "hash", {{"id", DataType::kInt64}}, {{"x", DataType::kFp32}, {"t", DataType::kBytes}},
          0,   {10}};  // of TTL
}

// A store in memory, that can be out of reach.
class MemoryView final : public SharedView {
 public:
  const ViewSpec& spec() const override { return spec_; }

  std::unique_ptr<PendingRead> Ask(const SharedRead& read) override {
    return std::make_unique<LookUp>(*this, read);
  }

  // Of event time `event`, seen from then on.
  void Put(int64_t id, int64_t event, float x) {
    const std::string_view text = "a text that no string keeps in itself";
    const ColumnData columns[] = {{DataType::kFp32, reinterpret_cast<const std::byte*>(&x), nullptr},
                                  {DataType::kBytes, reinterpret_cast<const std::byte*>(&text), nullptr}};
    std::vector<std::byte> row;
    ASSERT_TRUE(layout_.Encode(columns, 0, row).ok());
    std::vector<Entry> entries = {{event, event, event, 0, false, row}};
    std::vector<Entry> all;
    if (rows_.contains(id)) {
      ASSERT_TRUE(DecodeEntries(rows_[id], layout_, all));
    }
    all.insert(all.end(), entries.begin(), entries.end());
    std::vector<std::byte> value;
    EncodeEntries(all, value);
    rows_[id] = value;
  }
  void Remove(int64_t id) { rows_.erase(id); }
  void Is(Status outage) { outage_ = std::move(outage); }

  Result<size_t> Write(const WriteRows&, int64_t, const std::optional<std::string>&) override {
    return size_t{0};
  }
  Result<std::optional<std::string>> Cursor() override { return std::optional<std::string>(); }
  Result<size_t> Entities() override { return rows_.size(); }
  size_t WriteBytes() const override { return 1 << 20; }

 private:
  class LookUp final : public PendingRead {
   public:
    LookUp(MemoryView& view, const SharedRead& read) : view_(view), read_(read) {
      read_.out->Reset(view_.layout_, read_.count);
    }
    Status Wait() override {
      for (size_t i = 0; view_.outage_.ok() && i < read_.count; ++i) {
        const auto found = view_.rows_.find(reinterpret_cast<const int64_t*>(read_.keys[0].data)[i]);
        const std::span<const std::byte> value =
            found == view_.rows_.end() ? std::span<const std::byte>() : found->second;
        if (!value.empty()) {
          FALAJ_RETURN_IF_ERROR(TakeEntity(value, view_.spec_, view_.layout_, read_.times[i], i, *read_.out));
        }
        if (read_.values != nullptr) read_.values->Take(i, value);
      }
      read_.out->Finish();
      return view_.outage_;
    }

   private:
    MemoryView& view_;
    const SharedRead read_;
  };

  const ViewSpec spec_ = Spec();
  const RowLayout layout_{spec_.columns};
  std::map<int64_t, std::vector<std::byte>> rows_;
  Status outage_;
};

class CachedViewTest : public ::testing::Test {
 protected:
  void SetUp() override {
    clock_ms = 0;
    Make();
  }

  void Make(size_t most_bytes = CachedView::kMostBytes) {
    store_ = std::make_shared<MemoryView>();
    cache_.emplace(store_, 100ms, most_bytes, &Now);
  }

  static Status Ask(CachedView& view, const std::vector<int64_t>& ids, int64_t now, FeatureColumns& out) {
    const ColumnData keys[] = {{DataType::kInt64, reinterpret_cast<const std::byte*>(ids.data()), nullptr}};
    return view.Read(keys, ids.size(), now, out);
  }
  // "1 - expired" for three entities as of `now`, of which only the first is there.
  std::string Ask(const std::vector<int64_t>& ids, int64_t now) {
    const Status status = Ask(*cache_, ids, now, out_);
    if (!status.ok() && !IsOutage(status)) return status.message();
    std::string told;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) told += ' ';
      if (out_.status()[i] == Presence::kExpired) told += "expired";
      if (out_.status()[i] == Presence::kMissing) told += '-';
      if (out_.status()[i] != Presence::kPresent) continue;
      EXPECT_EQ(out_.nulls(0)[i], 0);
      EXPECT_EQ(reinterpret_cast<const std::string_view*>(out_.column(1).data())[i].substr(0, 6), "a text");
      told += std::to_string(static_cast<int>(reinterpret_cast<const float*>(out_.column(0).data())[i]));
    }
    return told;
  }

  std::shared_ptr<MemoryView> store_;
  std::optional<CachedView> cache_;
  FeatureColumns out_;
};

TEST_F(CachedViewTest, ServesWhatItReadWhileTheStoreIsOutOfReach) {
  store_->Put(1, 0, 11);
  store_->Put(2, 0, 12);
  EXPECT_EQ(Ask({1, 9}, 5), "11 -");
  store_->Put(1, 1, 21);
  EXPECT_EQ(Ask({1, 9}, 5), "21 -");  // the store is asked each time
  for (const Status& outage : {Unavailable("gone"), DeadlineExceeded("late")}) {
    store_->Is(outage);
    EXPECT_EQ(Ask({9, 1, 2, 1}, 5), "- 21 - 21");
  }
  store_->Is(Internal("damaged"));
  EXPECT_EQ(Ask({1}, 5), "damaged");
  store_->Is(Status::Ok());
  EXPECT_EQ(Ask({2, 1}, 5), "12 21");
}

TEST_F(CachedViewTest, ServesNothingThatWasReadLongerAgoThanItMay) {
  store_->Put(1, 0, 11);
  store_->Put(2, 0, 12);
  EXPECT_EQ(Ask({1, 2}, 5), "11 12");
  clock_ms = 60;
  EXPECT_EQ(Ask({1}, 5), "11");
  store_->Is(Unavailable("gone"));
  clock_ms = 100;
  EXPECT_EQ(Ask({1, 2}, 5), "11 12");
  clock_ms = 101;
  EXPECT_EQ(Ask({1, 2}, 5), "11 -");
  clock_ms = 161;  // having served it does not make it newer
  EXPECT_EQ(Ask({1, 2}, 5), "- -");
}

TEST_F(CachedViewTest, AppliesTimesAsOfNow) {
  store_->Put(1, 0, 11);
  store_->Put(1, 8, 12);  // not to be seen before
  EXPECT_EQ(Ask({1}, 5), "11");
  store_->Is(Unavailable("gone"));
  EXPECT_EQ(Ask({1}, 7), "11");
  EXPECT_EQ(Ask({1}, 8), "12");
  EXPECT_EQ(Ask({1}, 18), "12");
  EXPECT_EQ(Ask({1}, 19), "expired");
}

TEST_F(CachedViewTest, ForgetsWhatTheStoreHasNoMore) {
  store_->Put(1, 0, 11);
  EXPECT_EQ(Ask({1}, 5), "11");
  store_->Remove(1);
  EXPECT_EQ(Ask({1}, 5), "-");
  EXPECT_EQ(cache_->bytes(), 0u);
  store_->Is(Unavailable("gone"));
  EXPECT_EQ(Ask({1}, 5), "-");
}

TEST_F(CachedViewTest, ForgetsWhatWasUsedLongestAgoWhereThereIsNoRoom) {
  store_->Put(0, 0, 1);
  EXPECT_EQ(Ask({0}, 5), "1");
  const size_t one = cache_->bytes();
  Make(3 * one);
  for (int64_t id = 1; id <= 4; ++id) store_->Put(id, 0, static_cast<float>(10 + id));
  EXPECT_EQ(Ask({1, 2, 3}, 5), "11 12 13");
  EXPECT_EQ(Ask({1}, 5), "11");
  EXPECT_EQ(Ask({4}, 5), "14");
  EXPECT_EQ(cache_->bytes(), 3 * one);
  store_->Is(Unavailable("gone"));
  EXPECT_EQ(Ask({1, 2, 3, 4}, 5), "11 - 13 14");
}

TEST_F(CachedViewTest, KeepsWhatWasAskedLaterWhereAnswersOvertakeEachOther) {
  store_->Put(1, 0, 11);
  const int64_t id = 1;
  const ColumnData keys[] = {{DataType::kInt64, reinterpret_cast<const std::byte*>(&id), nullptr}};
  FeatureColumns early;
  const auto pending = cache_->Ask({keys, 1, 5, TimePoint::max(), &early, nullptr});
  clock_ms = 1;
  store_->Put(1, 1, 21);
  EXPECT_EQ(Ask({1}, 5), "21");
  store_->Remove(1);
  store_->Put(1, 0, 11);  // what the early look-up is told
  ASSERT_TRUE(pending->Wait().ok());
  store_->Is(Unavailable("gone"));
  EXPECT_EQ(Ask({1}, 5), "21");
}

TEST_F(CachedViewTest, HasWholeRowsWhileManyThreadsRead) {
  for (int64_t id = 0; id < 64; ++id) store_->Put(id, 0, static_cast<float>(id));
  EXPECT_EQ(Ask({0}, 5), "0");
  Make(20 * cache_->bytes());
  for (int64_t id = 0; id < 64; ++id) store_->Put(id, 0, static_cast<float>(id));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      FeatureColumns out;
      for (int64_t turn = 0; turn < 500; ++turn) {
        const std::vector<int64_t> ids = {(turn * 7 + t) % 64, (turn * 3 + t) % 64};
        if (!Ask(*cache_, ids, 5, out).ok()) ++wrong;
        for (size_t i = 0; i < ids.size(); ++i) {
          if (reinterpret_cast<const float*>(out.column(0).data())[i] != static_cast<float>(ids[i])) ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  store_->Is(Unavailable("gone"));
  std::vector<int64_t> ids(64);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  ASSERT_TRUE(IsOutage(Ask(*cache_, ids, 5, out_)));
  int known = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (out_.status()[i] != Presence::kPresent) continue;
    ++known;
    EXPECT_EQ(reinterpret_cast<const float*>(out_.column(0).data())[i], static_cast<float>(i));
  }
  EXPECT_EQ(known, 20);
}

}  // namespace
}  // namespace falaj

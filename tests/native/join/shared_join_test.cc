// A model that looks features up in stores which are elsewhere.
#include <gtest/gtest.h>

#include <cstring>

#include "fakes/fake_backend.h"
#include "join/join_backend.h"

namespace falaj::test {
namespace {

using namespace std::chrono_literals;

// Knows customer 1, of x = 2; tells what it is asked, and when.
class LoggedView final : public SharedView {
 public:
  LoggedView(std::string name, Status outage, std::string& log)
      : spec_{std::move(name), 1, "hash", {{"id", DataType::kInt64}}, {{"x", DataType::kFp32}}, 0, {}},
        layout_(spec_.columns),
        outage_(std::move(outage)),
        log_(log) {}
  const ViewSpec& spec() const override { return spec_; }
  std::unique_ptr<PendingRead> Ask(const SharedRead& read) override {
    log_ += "ask " + spec_.name + ", ";
    deadline = read.deadline;
    return std::make_unique<LookUp>(*this, read);
  }
  Result<size_t> Write(const WriteRows&, int64_t, const std::optional<std::string>&) override {
    return size_t{0};
  }
  Result<std::optional<std::string>> Cursor() override { return std::optional<std::string>(); }
  Result<size_t> Entities() override { return size_t{1}; }
  size_t WriteBytes() const override { return 1 << 20; }

  TimePoint deadline{};

 private:
  class LookUp final : public PendingRead {
   public:
    LookUp(LoggedView& view, const SharedRead& read) : view_(view), read_(read) {}
    Status Wait() override {
      view_.log_ += "wait " + view_.spec_.name + ", ";
      const float x = 2;
      const ColumnData columns[] = {{DataType::kFp32, reinterpret_cast<const std::byte*>(&x), nullptr}};
      std::vector<std::byte> row;
      FALAJ_RETURN_IF_ERROR(view_.layout_.Encode(columns, 0, row));
      read_.out->Reset(view_.layout_, read_.count);
      for (size_t i = 0; i < read_.count; ++i) {
        if (reinterpret_cast<const int64_t*>(read_.keys[0].data)[i] == 1) read_.out->SetPresent(i, row);
      }
      read_.out->Finish();
      return view_.outage_;
    }

   private:
    LoggedView& view_;
    const SharedRead read_;
  };

  const ViewSpec spec_;
  const RowLayout layout_;
  const Status outage_;
  std::string& log_;
};

// Two views, whose columns the model doubles and adds 1 to; a batch of two requests: customers 1 and 2.
class SharedJoinTest : public ::testing::Test {
 protected:
  Status Run(OnMissing on_missing, Status outage, std::optional<Nanos> budget = {}) {
    const ModelSignature model{{{"x", DataType::kFp32, {-1, 2}, {}}}, {{"y", DataType::kFp32, {-1, 2}, {}}}};
    a_ = std::make_shared<LoggedView>("a", std::move(outage), log_);
    b_ = std::make_shared<LoggedView>("b", Status::Ok(), log_);
    const float fallback = -1;
    const std::string bytes(reinterpret_cast<const char*>(&fallback), sizeof(fallback));
    JoinRequest request;
    request.views = {{a_, on_missing, budget}, {b_, OnMissing::kDefault, {}}};
    request.features = {{0, "x", bytes}, {1, "x", bytes}};
    request.inputs = {{"x", {{0, "", DataType::kFp32}, {1, "", DataType::kFp32}}}};
    auto plan = JoinPlan::Make(request, model);
    if (!plan.ok()) return plan.status();
    backend_ = NewJoinBackend(std::move(plan).value(), std::make_unique<FakeBackend>(model, nullptr),
                              &WallClockMicros, served_);
    instance_ = backend_->NewInstance().value();
    told_[0].wanted = true;
    members_ = {{0, 1, &told_[0], Status(), false}, {1, 1, &told_[1], Status(), false}};
    for (const TensorSpec& spec : backend_->Describe().outputs) outputs_.push_back({spec.type, {}, nullptr});
    return instance_->Run({inputs_, outputs_, &owners_, members_});
  }

  std::vector<float> y() const {
    const auto* data = static_cast<const float*>(outputs_[0].data);
    return {data, data + 4};
  }

  std::string log_;
  std::shared_ptr<ServedLog> served_;
  std::shared_ptr<LoggedView> a_, b_;
  std::vector<int64_t> ids_ = {1, 2};
  std::vector<float> none_ = {0, 0};
  std::vector<TensorView> inputs_ = {{DataType::kInt64, Shape{2, 1}, ids_.data()},
                                     {DataType::kFp32, Shape{2, 1}, none_.data()},
                                     {DataType::kFp32, Shape{2, 1}, none_.data()}};
  RequestFeatures told_[2];
  std::vector<BatchMember> members_;
  std::vector<TensorView> outputs_;
  std::vector<std::shared_ptr<void>> owners_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Instance> instance_;
};

TEST_F(SharedJoinTest, AsksAllStoresBeforeItWaitsForOne) {
  const TimePoint before = std::chrono::steady_clock::now();
  ASSERT_TRUE(Run(OnMissing::kDefault, Status::Ok(), 2ms).ok());
  const TimePoint after = std::chrono::steady_clock::now();
  EXPECT_EQ(log_, "ask a, ask b, wait a, wait b, ");
  EXPECT_GE(a_->deadline, before + 2ms);
  EXPECT_LE(a_->deadline, after + 2ms);
  EXPECT_EQ(b_->deadline, TimePoint::max());
  EXPECT_EQ(y(), (std::vector<float>{5, 5, -1, -1}));
  EXPECT_FALSE(members_[0].features_stale);
}

TEST_F(SharedJoinTest, WaitsForAllStoresWhereOneFails) {
  EXPECT_EQ(Run(OnMissing::kDefault, Internal("damaged")).message(), "damaged");
  EXPECT_EQ(log_, "ask a, ask b, wait a, wait b, ");
}

TEST_F(SharedJoinTest, ServesWhatIsKnownOfBeforeAndSaysSo) {
  ASSERT_TRUE(Run(OnMissing::kDefault, Unavailable("gone")).ok());
  EXPECT_EQ(y(), (std::vector<float>{5, 5, -1, -1}));
  EXPECT_TRUE(members_[0].features_stale);
  EXPECT_TRUE(members_[1].features_stale);
  EXPECT_EQ(static_cast<const std::string_view*>(outputs_[3].data)[0], "stale");
  EXPECT_EQ(static_cast<const std::string_view*>(outputs_[4].data)[0], "present");
}

TEST_F(SharedJoinTest, LogsWhatIsKnownOfBeforeAsStale) {
  served_ = std::make_shared<ServedLog>(1024, 1'000'000);
  ASSERT_TRUE(Run(OnMissing::kDefault, Unavailable("gone")).ok());
  const ServedRows& rows = served_->Take();
  ASSERT_EQ(rows.count, 2U);
  // Of the first request: after its id, number, time, staleness and key, the views' statuses and a.x.
  const std::byte* const row = rows.bytes.data() + 4 + 4 + 8 + 1 + 8;
  EXPECT_EQ(static_cast<ServedStatus>(row[0]), ServedStatus::kStale);
  EXPECT_EQ(static_cast<ServedStatus>(row[1]), ServedStatus::kPresent);
  EXPECT_EQ(static_cast<ServedAs>(row[2]), ServedAs::kValue);
  float value = 0;
  std::memcpy(&value, row + 3, sizeof(value));
  EXPECT_EQ(value, 2);
}

TEST_F(SharedJoinTest, RefusesOnlyThoseOfWhomNothingIsKnown) {
  ASSERT_TRUE(Run(OnMissing::kReject, Unavailable("gone")).ok());
  EXPECT_TRUE(members_[0].status.ok());
  EXPECT_TRUE(members_[0].features_stale);
  EXPECT_EQ(members_[1].status.code(), Code::kUnavailable);
}

}  // namespace
}  // namespace falaj::test

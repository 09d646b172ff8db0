// A model behind its look-ups: what its inputs are made of, for whom, and what becomes of an outage.
#include "join/join_backend.h"

#include <gtest/gtest.h>

#include <cmath>

#include "fakes/fake_backend.h"

namespace falaj::test {
namespace {

constexpr int64_t kNow = 1'000;
int64_t Now() { return kNow; }

// Has customer 1 from kNow on: 1.5, 7, "one". Or is out of reach.
class OneRowView final : public OnlineView {
 public:
  explicit OneRowView(Status outage) : outage_(std::move(outage)), layout_(spec_.columns) {}
  const ViewSpec& spec() const override { return spec_; }
  Status Read(std::span<const ColumnData> keys, size_t count, AsOf times, FeatureColumns& out) override {
    out.Reset(layout_, count);
    if (!outage_.ok()) {
      out.Finish();
      return outage_;
    }
    const float x = 1.5F;
    const int32_t n = 7;
    const std::string_view t = "one";
    const auto column = [](DataType type, const void* data) {
      return ColumnData{type, static_cast<const std::byte*>(data), nullptr};
    };
    const ColumnData columns[] = {column(DataType::kFp32, &x), column(DataType::kInt32, &n),
                                  column(DataType::kBytes, &t)};
    std::vector<std::byte> row;
    FALAJ_RETURN_IF_ERROR(layout_.Encode(columns, 0, row));
    for (size_t i = 0; i < count; ++i) {
      if (reinterpret_cast<const int64_t*>(keys[0].data)[i] == 1 && times[i] >= kNow) out.SetPresent(i, row);
    }
    out.Finish();
    return Status::Ok();
  }
  Result<size_t> Write(const WriteRows&, int64_t, const std::optional<std::string>&) override {
    return size_t{0};
  }
  Result<std::optional<std::string>> Cursor() override { return std::optional<std::string>(); }
  Result<size_t> Entities() override { return size_t{1}; }
  size_t WriteBytes() const override { return 1 << 20; }

 private:
  const ViewSpec spec_{"v",
                       1,
                       "hash",
                       {{"id", DataType::kInt64}},
                       {{"x", DataType::kFp32}, {"n", DataType::kInt32}, {"t", DataType::kBytes}},
                       0,
                       {}};
  const Status outage_;
  const RowLayout layout_;
};

std::string BytesOf(auto value) { return {reinterpret_cast<const char*>(&value), sizeof(value)}; }

// x: FP32 [-1, 3] of v__x, v__n and the request's a; s: BYTES [-1, 1] of v__t. Its outputs are 2x + 1, and s.
ModelSignature Signature() {
  const std::vector<TensorSpec> inputs = {{"x", DataType::kFp32, {-1, 3}, {}},
                                          {"s", DataType::kBytes, {-1, 1}, {}}};
  std::vector<TensorSpec> outputs = inputs;
  outputs[0].name = "y";
  return {inputs, outputs};
}

JoinRequest Request(OnMissing on_missing, Status outage = Status::Ok()) {
  JoinRequest request;
  request.views.push_back({std::make_shared<OneRowView>(std::move(outage)), on_missing});
  request.features = {{0, "x", std::nullopt}, {0, "n", BytesOf(int32_t{-2})}, {0, "t", "nobody"}};
  request.inputs = {{"x", {{0, "", DataType::kFp32}, {1, "", DataType::kFp32}, {{}, "a", DataType::kFp32}}},
                    {"s", {{2, "", DataType::kFp32}}}};
  return request;
}

// A batch of two requests of one row each: customers 1 and 2.
class JoinBackendTest : public ::testing::Test {
 protected:
  Status Run(const JoinRequest& request) {
    auto plan = JoinPlan::Make(request, Signature());
    if (!plan.ok()) return plan.status();
    backend_ = NewJoinBackend(std::move(plan).value(), std::make_unique<FakeBackend>(Signature(), nullptr),
                              &Now, log_);
    instance_ = backend_->NewInstance().value();
    members_ = {{0, 1, &told_[0], Status(), false}, {1, 1, &told_[1], Status(), false}};
    for (const TensorSpec& spec : backend_->Describe().outputs) outputs_.push_back({spec.type, {}, nullptr});
    return instance_->Run({inputs_, outputs_, &owners_, members_});
  }

  float y(size_t row, size_t column) const {
    return static_cast<const float*>(outputs_[0].data)[row * 3 + column];
  }
  std::string text(size_t output, size_t row) const {
    return std::string(static_cast<const std::string_view*>(outputs_[output].data)[row]);
  }

  std::shared_ptr<ServedLog> log_;
  std::vector<int64_t> ids_ = {1, 2};
  std::vector<float> a_ = {10, 20}, x_ = {0, 40};
  std::vector<int32_t> n_ = {0, 50};
  std::vector<std::string_view> t_ = {"", "mine"};
  std::vector<int64_t> as_of_ = {kNow - 1, 0};
  std::vector<TensorView> inputs_ = {
      {DataType::kInt64, Shape{2, 1}, ids_.data()}, {DataType::kFp32, Shape{2, 1}, a_.data()},
      {DataType::kFp32, Shape{2, 1}, x_.data()},    {DataType::kInt32, Shape{2, 1}, n_.data()},
      {DataType::kBytes, Shape{2, 1}, t_.data()},   {DataType::kInt64, Shape{2, 1}, as_of_.data()},
  };
  RequestFeatures told_[2];
  std::vector<BatchMember> members_;
  std::vector<TensorView> outputs_;
  std::vector<std::shared_ptr<void>> owners_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Instance> instance_;
};

TEST_F(JoinBackendTest, DescribesItselfByKeysValuesAndOptionalFeatures) {
  ASSERT_TRUE(Run(Request(OnMissing::kDefault)).ok());
  std::string inputs, outputs;
  for (const TensorSpec& spec : backend_->Describe().inputs)
    inputs += spec.name + (spec.optional ? "? " : " ");
  for (const TensorSpec& spec : backend_->Describe().outputs) {
    outputs += spec.name + (spec.optional ? "? " : " ");
  }
  EXPECT_EQ(inputs, "id a v__x? v__n? v__t? ");
  EXPECT_EQ(outputs, "y s v__x? v__n? v__t? v__status? ");
}

TEST_F(JoinBackendTest, PutsValuesDefaultsAndNanIntoTheirRows) {
  ASSERT_TRUE(Run(Request(OnMissing::kDefault)).ok());
  EXPECT_EQ(y(0, 0), 4);
  EXPECT_EQ(y(0, 1), 15);
  EXPECT_EQ(y(0, 2), 21);
  EXPECT_TRUE(std::isnan(y(1, 0)));
  EXPECT_EQ(y(1, 1), -3);
  EXPECT_EQ(y(1, 2), 41);
  EXPECT_EQ(text(1, 0), "one");
  EXPECT_EQ(text(1, 1), "nobody");
  EXPECT_EQ(outputs_[2].data, nullptr);
}

TEST_F(JoinBackendTest, TakesWhatARequestBringsAndShowsWhatTheModelHad) {
  told_[1].given = {2, 3, 4};
  told_[0].wanted = true;
  ASSERT_TRUE(Run(Request(OnMissing::kReject)).ok());
  EXPECT_TRUE(members_[1].status.ok());
  EXPECT_EQ(y(1, 0), 81);
  EXPECT_EQ(y(1, 1), 101);
  EXPECT_EQ(text(1, 1), "mine");
  EXPECT_EQ(static_cast<const float*>(outputs_[2].data)[0], 1.5F);
  EXPECT_EQ(static_cast<const float*>(outputs_[2].data)[1], 40);
  EXPECT_EQ(static_cast<const int32_t*>(outputs_[3].data)[0], 7);
  EXPECT_EQ(text(4, 0) + text(4, 1), "onemine");
  EXPECT_EQ(text(5, 0) + text(5, 1), "presentmissing");
}

TEST_F(JoinBackendTest, RefusesOneRequestWhereItsEntityIsMissing) {
  told_[1].given = {2, 3};  // not all of them
  ASSERT_TRUE(Run(Request(OnMissing::kReject)).ok());
  EXPECT_TRUE(members_[0].status.ok());
  EXPECT_EQ(members_[1].status.message(), "view v@1: the features of id 2 are missing");
}

TEST_F(JoinBackendTest, ServesDefaultsAndSaysSoWhileTheStoreIsOutOfReach) {
  told_[0].wanted = true;
  told_[1].given = {2, 3, 4};
  ASSERT_TRUE(Run(Request(OnMissing::kDefault, Unavailable("gone"))).ok());
  EXPECT_TRUE(members_[0].features_stale);
  EXPECT_FALSE(members_[1].features_stale);
  EXPECT_TRUE(std::isnan(y(0, 0)));
  EXPECT_EQ(y(0, 1), -3);
  EXPECT_EQ(text(1, 0), "nobody");
  EXPECT_EQ(text(5, 0), "stale");
}

TEST_F(JoinBackendTest, RefusesWhileTheStoreIsOutOfReachWhereMissingOnesAreRefused) {
  ASSERT_TRUE(Run(Request(OnMissing::kReject, DeadlineExceeded("late"))).ok());
  EXPECT_EQ(members_[0].status.code(), Code::kDeadlineExceeded);
}

TEST_F(JoinBackendTest, FailsWhereTheStoreIsDamaged) {
  EXPECT_EQ(Run(Request(OnMissing::kDefault, Internal("damaged"))).code(), Code::kInternal);
}

// The row of the log that one request of customer `id` has; ServedAs is always that of all three features.
std::string Row(const std::string& request, int64_t id, uint8_t stale, ServedStatus status, ServedAs as,
                float x, int32_t n, const std::string& t) {
  const auto text = [](const std::string& of) { return BytesOf(static_cast<uint32_t>(of.size())) + of; };
  return text(request) + BytesOf(int32_t{0}) + BytesOf(kNow) + BytesOf(stale) + BytesOf(id) +
         BytesOf(status) + BytesOf(as) + BytesOf(x) + BytesOf(as) + BytesOf(n) + BytesOf(as) + text(t);
}

std::string Taken(ServedLog& log) {
  const ServedRows& rows = log.Take();
  return {reinterpret_cast<const char*>(rows.bytes.data()), rows.bytes.size()};
}

TEST_F(JoinBackendTest, LogsWhatEachRequestWasServedWith) {
  log_ = std::make_shared<ServedLog>(1024, 1'000'000);
  told_[0].id = "a";
  told_[1].given = {2, 3, 4};
  ASSERT_TRUE(Run(Request(OnMissing::kDefault)).ok());
  const std::string first = Row("a", 1, 0, ServedStatus::kPresent, ServedAs::kValue, 1.5F, 7, "one");
  EXPECT_EQ(Taken(*log_), first + Row("", 2, 0, ServedStatus::kMissing, ServedAs::kBrought, 40, 50, "mine"));
  EXPECT_EQ(log_->Take().count, 0U);
  EXPECT_EQ(log_->fields().size(), 12U);
}

TEST_F(JoinBackendTest, LooksUpAsOfTheTimeThatARequestSays) {
  log_ = std::make_shared<ServedLog>(1024, 1'000'000);
  ids_ = {1, 1};
  told_[0].given = {5};
  JoinRequest request = Request(OnMissing::kDefault);
  request.as_of = true;
  ASSERT_TRUE(Run(request).ok());
  EXPECT_EQ(backend_->Describe().inputs[5].name, "features_as_of");
  EXPECT_EQ(text(1, 0) + text(1, 1), "nobodyone");
  const std::string log = Taken(*log_);
  EXPECT_NE(log.find(BytesOf(kNow - 1)), std::string::npos);
  EXPECT_NE(log.find(BytesOf(kNow)), std::string::npos);
  EXPECT_EQ(log_->dropped(), 0U);
}

TEST_F(JoinBackendTest, LogsWhatWasNotFoundAndNothingOfWhomItRefused) {
  log_ = std::make_shared<ServedLog>(1024, 1'000'000);
  ASSERT_TRUE(Run(Request(OnMissing::kDefault, Unavailable("gone"))).ok());
  const std::string first = Row("", 1, 1, ServedStatus::kStale, ServedAs::kNull, 0, 0, "");
  EXPECT_EQ(Taken(*log_), first + Row("", 2, 1, ServedStatus::kStale, ServedAs::kNull, 0, 0, ""));
  outputs_.clear();
  ASSERT_TRUE(Run(Request(OnMissing::kReject)).ok());
  EXPECT_EQ(Taken(*log_), Row("", 1, 0, ServedStatus::kPresent, ServedAs::kValue, 1.5F, 7, "one"));
}

TEST_F(JoinBackendTest, LogsNothingOfWarmUps) {
  log_ = std::make_shared<ServedLog>(1024, 1'000'000);
  ASSERT_TRUE(Run(Request(OnMissing::kDefault)).ok());
  ASSERT_EQ(log_->Take().count, 2U);
  ASSERT_TRUE(backend_->WarmUp(*instance_, {inputs_, outputs_, &owners_, members_}).ok());
  EXPECT_EQ(log_->Take().count, 0U);
}

TEST(ServedLogTest, DropsAndCountsWhatFindsNoRoomUntilItIsEmptied) {
  ServedLog log(100, 1'000'000);
  ServedRows rows;
  rows.bytes.resize(60);
  rows.count = 3;
  log.Append(rows);
  log.Append(rows);
  EXPECT_EQ(log.dropped(), 3U);
  EXPECT_EQ(log.Take().count, 3U);
  log.Append(rows);
  EXPECT_EQ(log.dropped(), 3U);
  EXPECT_EQ(log.Take().bytes.size(), 60U);
}

TEST(ServedLogTest, SamplesAboutTheShare) {
  const auto of_million = [](uint32_t per_million) {
    const ServedLog log(1, per_million);
    uint64_t state = 1;
    int sampled = 0;
    for (int i = 0; i < 1'000'000; ++i) sampled += log.Samples(state) ? 1 : 0;
    return sampled;
  };
  EXPECT_EQ(of_million(0), 0);
  EXPECT_EQ(of_million(1'000'000), 1'000'000);
  EXPECT_NEAR(of_million(10'000), 10'000, 500);  // five standard deviations
}

// The second input of Signature() is named for the key, and of its type.
ModelSignature SignatureWithKey(std::vector<int64_t> shape) {
  ModelSignature model = Signature();
  model.inputs[1] = TensorSpec{"id", DataType::kInt64, std::move(shape), {}};
  return model;
}

TEST(JoinPlanTest, GivesAModelTheKeyThatAnInputIsNamedFor) {
  JoinRequest request = Request(OnMissing::kDefault);
  request.inputs.pop_back();
  const JoinPlan plan = JoinPlan::Make(request, SignatureWithKey({-1, 1})).value();
  EXPECT_EQ(plan.signature.inputs[0].name, "id");
  EXPECT_EQ(plan.signature.inputs[1].name, "a");
  EXPECT_EQ(plan.inputs[1].passed, 0U);
  const auto refused = JoinPlan::Make(request, SignatureWithKey({-1})).status();
  EXPECT_EQ(refused.message(), "input 'id' is INT64 [-1] of the model, and INT64 [-1, 1] as a key");
}

TEST_F(JoinBackendTest, IsRefusedWhereItsPartsDoNotFit) {
  const auto refused = [](auto change) {
    JoinRequest request = Request(OnMissing::kDefault);
    change(request);
    return std::string(JoinPlan::Make(request, Signature()).status().message());
  };
  using R = JoinRequest&;
  EXPECT_EQ(refused([](R r) { r.inputs[1].name = "z"; }), "the model has no input 'z'");
  EXPECT_EQ(refused([](R r) { r.features[0].column = "z"; }), "view v@1: has no column 'z'");
  EXPECT_EQ(refused([](R r) { r.inputs[0].columns.pop_back(); }),
            "input 'x' is FP32 [-1, 3], and has 2 columns");
  EXPECT_EQ(refused([](R r) { r.inputs[1].columns[0].feature = 1; }),
            "v__n: is INT32, which input 's' of BYTES cannot have");
  EXPECT_EQ(refused([](R r) { r.features[2].fallback.reset(); }),
            "v__t: has no default, and input 's' of BYTES has no NaN");
  EXPECT_EQ(refused([](R r) { r.views[0].on_missing = OnMissing::kNan; }),
            "v__t: has no default, and input 's' of BYTES has no NaN");
  EXPECT_EQ(refused([](R r) { r.inputs[0].columns[2].name = "id"; }), "input 'id': is INT64 and FP32");
  EXPECT_EQ(refused([](R r) { r.inputs[0].columns[2].name = "v__x"; }),
            "'v__x' is there twice, by the model and its views");
  EXPECT_EQ(refused([](R r) { r.features[1].fallback = "abc"; }), "v__n: its default is no INT32");
  EXPECT_EQ(refused([](R r) {
              r.inputs.erase(r.inputs.begin());
              r.inputs[0].columns = {{{}, "x", DataType::kFp32}};
            }),
            "input 'x': is FP32 [-1, 3], and FP32 [-1, 1] as a value");
}

}  // namespace
}  // namespace falaj::test

#include "wire/shared_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "fakes/model_fixture.h"
#include "wire/shared_file.h"

namespace falaj::wire::test {
namespace {

using falaj::test::DefaultOptions;
using falaj::test::ModelFixture;
using falaj::test::Spec;
using testing::HasSubstr;

constexpr int64_t kWide = 16'384;  // FP32: 64 KiB, which are worth attaching
constexpr uint64_t kRow = 4 * kWide;
constexpr uint64_t kFile = 4 * kRow;
constexpr std::array kOrder = {0, 1};

// x FP32 and n INT64 -> y FP32 and m INT64, and a file of which all is the region `r`.
class SharedTensorsTest : public testing::Test {
 protected:
  SharedTensorsTest()
      : model_(DefaultOptions({Spec("x", {-1, kWide}), Spec("n", {-1, 1}, DataType::kInt64)},
                              {Spec("y", {-1, kWide}), Spec("m", {-1, 1}, DataType::kInt64)})) {
    EXPECT_TRUE(memory_->Register("r", "/f", 0, kFile).ok());
  }
  static SharedMemoryRules Rules(const std::string& folder, bool copies) {
    SharedMemoryRules rules;
    rules.folder = folder;
    rules.prefixes = {"f"};
    rules.copies = copies;
    return rules;
  }
  // A row of x at `x`, n at 8 bytes; y and m where they are given.
  InferHeader Header(uint64_t x, std::optional<uint64_t> y = {}, std::optional<uint64_t> m = {}) {
    InferHeader header;
    header.inputs = {{"x", DataType::kFp32, Shape{1, kWide}, {}, SharedPlace{"r", x, kRow}},
                     {"n", DataType::kInt64, Shape{1, 1}, {}, SharedPlace{"r", 8, 8}}};
    if (y) header.outputs.push_back({"y", {}, 0, SharedPlace{"r", *y, kRow}});
    if (m) header.outputs.push_back({"m", {}, 0, SharedPlace{"r", *m, 8}});
    return header;
  }
  std::shared_ptr<SharedTensors> Find(const InferHeader& header) {
    auto found = SharedTensors::Find(memory_, *model_.batcher, header, kOrder);
    EXPECT_TRUE(found.ok()) << found.status().message();
    return *found;
  }
  static std::array<TensorView, 2> Views() {
    return {TensorView{DataType::kFp32, Shape{1, kWide}, nullptr},
            TensorView{DataType::kInt64, Shape{1, 1}, nullptr}};
  }
  const std::byte* Region() { return (*memory_->Find("r"))->readable(); }

  SharedFolder folder_;
  SharedFile file_{folder_.path(), "f", kFile};
  std::shared_ptr<SharedMemory> memory_ = std::make_shared<SharedMemory>(Rules(folder_.path(), false));
  ModelFixture model_;
};

TEST_F(SharedTensorsTest, AttachesLargeFloatsAndCopiesWhatMayBeAnIndex) {
  file_.Write(std::string("\7\0\0\0\0\0\0\0", 8), 8);
  const auto shared = Find(Header(64));
  ASSERT_TRUE(shared->attaches());
  auto views = Views();
  shared->View(views);
  EXPECT_EQ(views[0].data, Region() + 64);
  EXPECT_EQ(views[1].data, nullptr);
  ASSERT_TRUE(shared->Own(views, 0).ok());
  ASSERT_TRUE(shared->Fill(views, nullptr).ok());
  file_.Write(std::string(8, '\xff'), 8);
  EXPECT_EQ(*static_cast<const int64_t*>(views[1].data), 7);
  EXPECT_EQ(views[0].data, Region() + 64);
}

TEST_F(SharedTensorsTest, CopiesAllWhereThatIsWantedOrTheyLieAskew) {
  EXPECT_FALSE(Find(Header(65))->attaches());
  const auto copying = std::make_shared<SharedMemory>(Rules(folder_.path(), true));
  ASSERT_TRUE(copying->Register("r", "/f", 0, kFile).ok());
  auto shared = SharedTensors::Find(copying, *model_.batcher, Header(64, kRow + 64), kOrder);
  ASSERT_TRUE(shared.ok());
  EXPECT_FALSE((*shared)->attaches());
  std::vector<std::span<std::byte>> places;
  (*shared)->Place(places);
  EXPECT_TRUE(places[0].empty());
}

// What was looked up is what is run, and what is kept is what the model answered.
TEST_F(SharedTensorsTest, CopiesAllOfAModelThatKeepsAnswers) {
  BatcherOptions options = DefaultOptions({Spec("x", {-1, kWide}), Spec("n", {-1, 1}, DataType::kInt64)},
                                          {Spec("y", {-1, kWide}), Spec("m", {-1, 1}, DataType::kInt64)});
  options.cache.max_bytes = 1 << 20;
  ModelFixture keeping(std::move(options));
  auto shared = SharedTensors::Find(memory_, *keeping.batcher, Header(64, kRow + 64), kOrder);
  ASSERT_TRUE(shared.ok());
  EXPECT_FALSE((*shared)->attaches());
  std::vector<std::span<std::byte>> places;
  (*shared)->Place(places);
  EXPECT_TRUE(places[0].empty());
}

TEST_F(SharedTensorsTest, HasFloatsWrittenInPlaceUnlessTheyLieOverAnInput) {
  std::vector<std::span<std::byte>> places;
  const auto apart = Find(Header(64, 64 + kRow, 0));
  apart->Place(places);
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].size(), kRow);
  EXPECT_TRUE(places[1].empty());  // INT64
  places[0][0] = std::byte{9};
  EXPECT_EQ(file_.Read(1, 64 + kRow), "\t");
  Find(Header(64, 60 + kRow))->Place(places);
  EXPECT_TRUE(places[0].empty());
}

TEST_F(SharedTensorsTest, WritesWhatIsNotThereYet) {
  const auto shared = Find(Header(64, 64 + kRow, 0));
  std::vector<std::span<std::byte>> places;
  shared->Place(places);
  int64_t m = 5;
  std::array outputs = {OutputTensor{"y", {DataType::kFp32, Shape{1, kWide}, places[0].data()}},
                        OutputTensor{"m", {DataType::kInt64, Shape{1, 1}, &m}}};
  file_.Write("there", 64 + kRow);  // by the backend
  ASSERT_TRUE(shared->Finish(outputs).ok());
  EXPECT_EQ(file_.Read(5, 64 + kRow), "there");
  EXPECT_EQ(file_.Read(8, 0), std::string("\5\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(outputs[1].shared->region, "r");
  EXPECT_EQ(outputs[0].shared->bytes, kRow);
}

TEST_F(SharedTensorsTest, WritesNothingWhenOneIsLargerThanItsPlace) {
  InferHeader header = Header(64, 64 + kRow, 0);
  header.outputs[1].shared->bytes = 7;
  const auto shared = Find(header);
  std::vector<float> y(kWide, 1);
  int64_t m = 5;
  std::array outputs = {OutputTensor{"y", {DataType::kFp32, Shape{1, kWide}, y.data()}},
                        OutputTensor{"m", {DataType::kInt64, Shape{1, 1}, &m}}};
  EXPECT_THAT(shared->Finish(outputs).message(), HasSubstr("'m' (7 bytes) should be at least 8 bytes"));
  EXPECT_EQ(file_.Read(8, 0), std::string(8, '\0'));
  EXPECT_EQ(file_.Read(8, 64 + kRow), std::string(8, '\0'));
}

TEST_F(SharedTensorsTest, FailsWhenTheFileWasCutMeanwhile) {
  const auto shared = Find(Header(64, 64 + kRow));
  auto views = Views();
  shared->View(views);
  ASSERT_TRUE(shared->Own(views, 0).ok());
  ASSERT_TRUE(shared->Fill(views, nullptr).ok());
  file_.Resize(0);
  std::vector<std::byte> read(kRow);
  std::memcpy(read.data(), views[0].data, kRow);  // as the model does
  file_.Resize(kFile);
  std::vector<float> y(kWide, 1);
  std::array outputs = {OutputTensor{"y", {DataType::kFp32, Shape{1, kWide}, y.data()}}};
  EXPECT_THAT(shared->Finish(outputs).message(), HasSubstr("was cut shorter"));
  EXPECT_THAT(SharedTensors::Find(memory_, *model_.batcher, Header(64), kOrder).status().message(),
              HasSubstr("not used any more"));
}

TEST_F(SharedTensorsTest, IsRefusedWhereThereIsNoRoomForCopies) {
  SharedMemoryRules rules = Rules(folder_.path(), true);
  rules.max_copied_bytes = 2 * (kRow + 8) + 7;
  const auto copying = std::make_shared<SharedMemory>(rules);
  ASSERT_TRUE(copying->Register("r", "/f", 0, kFile).ok());
  const auto find = [&] { return SharedTensors::Find(copying, *model_.batcher, Header(64), kOrder); };
  auto first = find();
  auto second = find();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(find().status().code(), Code::kUnavailable);
  first->reset();
  EXPECT_TRUE(find().ok());
}

TEST_F(SharedTensorsTest, IsUnsupportedWhereThereIsNoMemory) {
  const auto found = SharedTensors::Find(nullptr, *model_.batcher, Header(64), kOrder);
  EXPECT_EQ(found.status().code(), Code::kUnsupported);
}

}  // namespace
}  // namespace falaj::wire::test

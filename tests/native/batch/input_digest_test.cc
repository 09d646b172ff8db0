#include "batch/input_digest.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace falaj::test {
namespace {

TensorView View(DataType type, Shape shape, const void* data) {
  return {type, shape, const_cast<void*>(data)};
}

const InputHash& TheHash() {
  static const std::unique_ptr<const InputHash> hash = InputHash::Make().value();
  return *hash;
}

Digest Of(const std::vector<TensorView>& inputs, const InputHash& hash = TheHash()) {
  const auto digest = hash.Of(inputs);
  EXPECT_TRUE(digest.has_value());
  return digest.value_or(Digest());
}

Digest OfFloat(uint32_t bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return Of({View(DataType::kFp32, {1}, &value)});
}

Digest OfTexts(const std::vector<std::string_view>& texts, Shape shape) {
  return Of({View(DataType::kBytes, shape, texts.data())});
}

TEST(InputDigest, IsOfTheDataWhereverItLies) {
  const std::vector<float> one{1, 2, 3, 4};
  const std::vector<float> other(one);
  EXPECT_EQ(Of({View(DataType::kFp32, {2, 2}, one.data())}),
            Of({View(DataType::kFp32, {2, 2}, other.data())}));
  const std::string text = "abc", same = "abc";
  EXPECT_EQ(OfTexts({text}, {1}), OfTexts({same}, {1}));
}

TEST(InputDigest, DiffersWhenEqualBytesHaveOtherShapes) {
  const std::vector<float> data(6, 1);
  std::set<std::array<uint64_t, 2>> seen;
  for (const Shape& shape : {Shape{6}, Shape{6, 1}, Shape{1, 6}, Shape{2, 3}, Shape{3, 2}, Shape{2, 3, 1}}) {
    EXPECT_TRUE(seen.insert(Of({View(DataType::kFp32, shape, data.data())}).words).second)
        << shape.ToString();
  }
}

TEST(InputDigest, DiffersWhenTensorsWithoutElementsHaveOtherShapes) {
  EXPECT_NE(Of({View(DataType::kFp32, {0, 2}, nullptr)}), Of({View(DataType::kFp32, {0, 3}, nullptr)}));
  EXPECT_NE(Of({View(DataType::kFp32, {0, 2}, nullptr)}), Of({View(DataType::kFp32, {2, 0}, nullptr)}));
}

TEST(InputDigest, DiffersWhenTheSameDataIsCutElsewhere) {
  EXPECT_NE(OfTexts({"ab", "c"}, {2}), OfTexts({"a", "bc"}, {2}));
  EXPECT_NE(OfTexts({"", "abc"}, {2}), OfTexts({"abc", ""}, {2}));
  const std::vector<float> data{1, 2, 3};
  EXPECT_NE(Of({View(DataType::kFp32, {1}, data.data()), View(DataType::kFp32, {2}, data.data() + 1)}),
            Of({View(DataType::kFp32, {2}, data.data()), View(DataType::kFp32, {1}, data.data() + 2)}));
}

TEST(InputDigest, LooksAtBitsNotAtNumbers) {
  EXPECT_EQ(OfFloat(0x7fc00001), OfFloat(0x7fc00001));  // a NaN is equal to itself
  EXPECT_NE(OfFloat(0x7fc00001), OfFloat(0x7fc00002));
  EXPECT_NE(OfFloat(0x00000000), OfFloat(0x80000000));  // 0 and -0
}

TEST(InputDigest, SeesEveryByteOfEverySize) {
  for (const size_t size : {1u, 63u, 64u, 500u, 511u, 512u, 513u, 1024u, 5000u}) {
    std::vector<uint8_t> data(size, 7);
    const Shape shape{static_cast<int64_t>(size)};
    const Digest before = Of({View(DataType::kUint8, shape, data.data())});
    for (const size_t at : {size_t{0}, size / 2, size - 1}) {
      data[at] ^= 1;
      EXPECT_NE(Of({View(DataType::kUint8, shape, data.data())}), before) << at << " of " << size;
      data[at] ^= 1;
    }
    EXPECT_EQ(Of({View(DataType::kUint8, shape, data.data())}), before);
  }
}

TEST(InputDigest, DiffersByEveryBit) {
  for (const size_t size : {1u, 15u, 16u, 17u, 40u, 600u}) {
    std::vector<uint8_t> data(size);
    const std::vector<TensorView> inputs{View(DataType::kUint8, {static_cast<int64_t>(size)}, data.data())};
    std::set<std::array<uint64_t, 2>> seen{Of(inputs).words};
    for (size_t bit = 0; bit < 8 * size; ++bit) {
      data[bit / 8] = static_cast<uint8_t>(1u << bit % 8);
      EXPECT_TRUE(seen.insert(Of(inputs).words).second) << bit << " of " << size << " bytes";
      data[bit / 8] = 0;
    }
  }
}

// What is padded with zeros to whole blocks, or cut into pieces, is never taken for something else.
TEST(InputDigest, DiffersByZerosAtTheEndAndByTheNumberOfElements) {
  const std::vector<uint8_t> zeros(70);
  const std::string text(70, '\0');
  std::set<std::array<uint64_t, 2>> seen;
  for (int64_t size = 0; size <= 70; ++size) {
    EXPECT_TRUE(seen.insert(Of({View(DataType::kUint8, {size}, zeros.data())}).words).second) << size;
  }
  for (size_t size = 0; size <= 70; ++size) {
    EXPECT_TRUE(seen.insert(OfTexts({std::string_view(text).substr(0, size)}, {1}).words).second) << size;
  }
  EXPECT_TRUE(seen.insert(Of({}).words).second);
  EXPECT_TRUE(seen.insert(OfTexts({}, {0, 1}).words).second);
  EXPECT_NE(OfTexts({"ab"}, {1}), OfTexts({"a", "b"}, {2}));
  EXPECT_NE(OfTexts({"ab", ""}, {2}), OfTexts({"ab"}, {1}));
  // A size in front of an element that looks like one.
  const std::string inner("\1\0\0\0\0\0\0\0x", 9);
  EXPECT_NE(OfTexts({inner, ""}, {2}), OfTexts({"", inner}, {2}));
}

TEST(InputDigest, DiffersFromThatOfAnotherHash) {
  const std::unique_ptr<const InputHash> other = InputHash::Make().value();
  const std::vector<float> data(100, 1);
  const std::vector<TensorView> inputs{View(DataType::kFp32, {100}, data.data())};
  EXPECT_NE(Of(inputs), Of(inputs, *other));
  EXPECT_NE(Of({}), Of({}, *other));
}

TEST(InputDigest, IsTheSameOnEveryThreadWhateverElseTheThreadHashes) {
  const std::unique_ptr<const InputHash> other = InputHash::Make().value();
  const std::vector<float> data(100, 1);
  const std::vector<TensorView> inputs{View(DataType::kFp32, {100}, data.data())};
  const Digest digest = Of(inputs);
  const Digest of_other = Of(inputs, *other);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int turn = 0; turn < 50; ++turn) {
        EXPECT_EQ(Of(inputs), digest);
        if ((turn + i) % 3 == 0) continue;  // so that keys stay as they are too
        EXPECT_EQ(Of(inputs, *other), of_other);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(InputDigest, IsNotTakenOfWhatIsTooLarge) {
  std::vector<uint8_t> data(kMostDigestedBytes + 1);
  const auto bytes = static_cast<int64_t>(kMostDigestedBytes);
  EXPECT_TRUE(TheHash().Of({{View(DataType::kUint8, {bytes}, data.data())}}).has_value());
  EXPECT_FALSE(TheHash().Of({{View(DataType::kUint8, {bytes + 1}, data.data())}}).has_value());
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  EXPECT_FALSE(TheHash().Of({{View(DataType::kBytes, {1}, &text)}}).has_value());
}

}  // namespace
}  // namespace falaj::test

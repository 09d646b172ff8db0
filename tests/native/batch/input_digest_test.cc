#include "batch/input_digest.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace falaj::test {
namespace {

TensorView View(DataType type, Shape shape, const void* data) {
  return {type, shape, const_cast<void*>(data)};
}

Digest Of(const std::vector<TensorView>& inputs) {
  const auto digest = DigestOf(inputs);
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
  std::set<std::array<uint64_t, 4>> seen;
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

TEST(InputDigest, IsNotTakenOfWhatIsTooLarge) {
  std::vector<uint8_t> data(kMostDigestedBytes + 1);
  const auto bytes = static_cast<int64_t>(kMostDigestedBytes);
  EXPECT_TRUE(DigestOf({{View(DataType::kUint8, {bytes}, data.data())}}).has_value());
  EXPECT_FALSE(DigestOf({{View(DataType::kUint8, {bytes + 1}, data.data())}}).has_value());
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  EXPECT_FALSE(DigestOf({{View(DataType::kBytes, {1}, &text)}}).has_value());
}

}  // namespace
}  // namespace falaj::test

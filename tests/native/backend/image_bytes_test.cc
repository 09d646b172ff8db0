#include "backend/image_bytes.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace falaj::test {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes Join(const std::vector<Bytes>& parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

const Bytes kStart = {0xFF, 0xD8};
const Bytes kTable = {0xFF, 0xDB, 0x00, 0x04, 0x01, 0x02};
const Bytes kScan = {0xFF, 0xDA, 0x00, 0x04, 0x01, 0x02};
const Bytes kPixels = {0x12, 0xFF, 0x00, 0x34};
const Bytes kEnd = {0xFF, 0xD9};

std::string Told(const Bytes& bytes) { return CheckImageIsWhole(bytes).message(); }

TEST(ImageBytes, AreTakenWhenTheJpegIsWhole) {
  EXPECT_TRUE(CheckImageIsWhole(Join({kStart, kTable, kScan, kPixels, kEnd})).ok());
  const Bytes trailing = {0, 0, 0};
  EXPECT_TRUE(CheckImageIsWhole(Join({kStart, kTable, kScan, kPixels, kEnd, trailing})).ok());
  const Bytes filled = {0xFF, 0xFF, 0xFF, 0xDB, 0x00, 0x02};  // a marker with fill bytes
  const Bytes junk = {0x11, 0xFF, 0x00, 0x22};                // skipped up to the next marker
  EXPECT_TRUE(CheckImageIsWhole(Join({kStart, filled, junk, kScan, kEnd})).ok());
}

TEST(ImageBytes, AreLeftToTheDecoderWhenTheyAreNoJpeg) {
  EXPECT_TRUE(CheckImageIsWhole({}).ok());
  EXPECT_TRUE(CheckImageIsWhole(Bytes{0xFF}).ok());
  EXPECT_TRUE(CheckImageIsWhole(Bytes{0x89, 'P', 'N', 'G'}).ok());
}

TEST(ImageBytes, AreRefusedWhenTheJpegIsCutAtAnyByte) {
  const Bytes whole = Join({kStart, kTable, kScan, kPixels, kEnd});
  for (size_t size = 2; size < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<int64_t>(size));
    EXPECT_NE(Told(cut).find("is cut short"), std::string::npos) << size << " " << Told(cut);
  }
}

TEST(ImageBytes, AreRefusedWhenTheOnlyEndIsInsideASegment) {
  const Bytes comment = {0xFF, 0xFE, 0x00, 0x04, 0xFF, 0xD9};
  EXPECT_NE(Told(Join({kStart, comment, kScan, kPixels})).find("in its pixels"), std::string::npos);
  const Bytes scan = {0xFF, 0xDA, 0x00, 0x04, 0xFF, 0xD9};
  EXPECT_NE(Told(Join({kStart, scan, kPixels})).find("in its pixels"), std::string::npos);
}

TEST(ImageBytes, AreRefusedWhenThereIsNoScanOrASegmentHasNoRoomForItsLength) {
  EXPECT_NE(Told(Join({kStart, kTable, kEnd})).find("without a scan"), std::string::npos);
  const Bytes empty = {0xFF, 0xFE, 0x00, 0x01};
  EXPECT_NE(Told(Join({kStart, empty, kScan, kEnd})).find("two bytes"), std::string::npos);
}

}  // namespace
}  // namespace falaj::test

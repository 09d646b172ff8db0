#include "wire/grpc_framing.h"

#include <gtest/gtest.h>

#include "wire/grpc_client.h"

namespace falaj::wire {
namespace {

using test::Framed;
using Step = GrpcMessageReader::Step;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class GrpcFramingTest : public testing::Test {
 protected:
  // Feeds all of `stream` in pieces; the messages that come out.
  std::vector<std::string> Read(GrpcMessageReader& reader, std::string_view stream, size_t piece) {
    std::vector<std::string> messages;
    while (!stream.empty()) {
      auto chunk = Bytes(stream.substr(0, piece));
      stream.remove_prefix(chunk.size());
      GrpcMessage message;
      Step step = Step::kMessage;
      while ((step = reader.Next(chunk, message)) == Step::kMessage) messages.push_back(Text(message.bytes));
      if (step == Step::kFailed) break;
    }
    return messages;
  }

  ClientShares shares{WireOptions()};
  BufferBudget budget{&shares};
};

TEST_F(GrpcFramingTest, FindsTheSameMessagesWhenTheStreamIsCutAnywhere) {
  const std::vector<std::string> messages{"first", "", std::string(1000, 'x'), "last"};
  std::string stream;
  for (const std::string& message : messages) stream += Framed(message);
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{5}, size_t{7}, size_t{100}, SIZE_MAX}) {
    GrpcMessageReader reader(4096, &budget);
    EXPECT_EQ(Read(reader, stream, piece), messages) << piece;
    EXPECT_TRUE(reader.at_boundary());
    reader.Clear();
    EXPECT_EQ(budget.used(), 0u);
  }
}

TEST_F(GrpcFramingTest, ViewsAMessageInItsChunkWhenItIsWhole) {
  GrpcMessageReader reader(4096, &budget);
  const std::string stream = Framed("abc") + Framed("d");
  auto chunk = Bytes(stream);
  GrpcMessage message;
  ASSERT_EQ(reader.Next(chunk, message), Step::kMessage);
  EXPECT_EQ(static_cast<const void*>(message.bytes.data()), stream.data() + kGrpcPrefixBytes);
  EXPECT_EQ(chunk.size(), kGrpcPrefixBytes + 1);
}

TEST_F(GrpcFramingTest, SaysThatAMessageIsCompressedWhenItsFlagDoes) {
  GrpcMessageReader reader(4096, &budget);
  const std::string stream = Framed("abc", /*compressed=*/true);
  auto chunk = Bytes(stream);
  GrpcMessage message;
  ASSERT_EQ(reader.Next(chunk, message), Step::kMessage);
  EXPECT_TRUE(message.compressed);
}

TEST_F(GrpcFramingTest, RefusesAMessageWhenItsLengthIsOverTheBound) {
  GrpcMessageReader reader(8, &budget);
  EXPECT_TRUE(Read(reader, Framed("123456789"), SIZE_MAX).empty());
  EXPECT_EQ(reader.failure().code, GrpcCode::kResourceExhausted);
}

TEST_F(GrpcFramingTest, RefusesAStreamWhenAFlagIsNeitherZeroNorOne) {
  GrpcMessageReader reader(8, &budget);
  EXPECT_TRUE(Read(reader, std::string("\2\0\0\0\0", 5), SIZE_MAX).empty());
  EXPECT_EQ(reader.failure().code, GrpcCode::kInvalidArgument);
}

TEST_F(GrpcFramingTest, CountsWhatArrivedWhenAPrefixPromisesMore) {
  GrpcMessageReader reader(size_t{1} << 30, &budget);
  std::string stream("\0\x3f\xff\xff\xff", 5);
  stream += std::string(1000, 'x');
  EXPECT_TRUE(Read(reader, stream, SIZE_MAX).empty());
  EXPECT_FALSE(reader.at_boundary());
  EXPECT_EQ(budget.used(), 1000u);
}

TEST_F(GrpcFramingTest, RefusesToGatherMoreWhenTheServersBoundIsReached) {
  WireOptions options;
  options.max_buffered_bytes = 256 * 1024;
  ClientShares few(options);
  BufferBudget small(&few);
  GrpcMessageReader reader(size_t{1} << 30, &small);
  EXPECT_TRUE(Read(reader, Framed(std::string(1 << 20, 'x')), 16 * 1024).empty());
  EXPECT_EQ(reader.failure().code, GrpcCode::kUnavailable);
  reader.Clear();
  EXPECT_EQ(few.buffered_bytes(), 0);
}

TEST_F(GrpcFramingTest, WritesThePrefixOfAMessageWhenItsSizeIsKnownLate) {
  std::string out = "before";
  const size_t begin = BeginGrpcMessage(out);
  out += std::string(258, 'x');
  EndGrpcMessage(/*compressed=*/true, begin, out);
  EXPECT_EQ(out, "before" + Framed(std::string(258, 'x'), true));
}

}  // namespace
}  // namespace falaj::wire

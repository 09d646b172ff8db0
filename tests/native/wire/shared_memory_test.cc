#include "wire/shared_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "wire/shared_file.h"

namespace falaj::wire::test {
namespace {

using testing::HasSubstr;

class SharedMemoryTest : public testing::Test {
 protected:
  SharedMemoryRules Rules() const {
    SharedMemoryRules rules;
    rules.folder = folder_.path();
    rules.prefixes = {"own_", "other_"};
    rules.max_regions = 3;
    rules.max_bytes = 1000;
    return rules;
  }
  void ExpectRefused(const std::string& key, uint64_t offset, uint64_t bytes, Code code,
                     const std::string& text) {
    const Status status = memory_.Register("r", key, offset, bytes);
    EXPECT_EQ(status.code(), code) << key << ": " << status.message();
    EXPECT_THAT(status.message(), HasSubstr(text)) << key;
    EXPECT_TRUE(memory_.Regions().empty());
  }

  SharedFolder folder_;
  SharedMemory memory_{Rules()};
};

TEST_F(SharedMemoryTest, TellsWhatWasRegistered) {
  const SharedFile file(folder_.path(), "own_a", 100);
  ASSERT_TRUE(memory_.Register("r", "/own_a", 10, 90).ok());
  ASSERT_TRUE(memory_.Register("q", "own_a", 0, 1).ok());
  const auto regions = memory_.Regions();
  ASSERT_EQ(regions.size(), 2u);
  EXPECT_EQ(regions[0]->name(), "q");
  EXPECT_EQ(regions[1]->key(), "/own_a");
  EXPECT_EQ(regions[1]->offset(), 10u);
  EXPECT_EQ(regions[1]->bytes(), 90u);
  EXPECT_THAT(memory_.Register("r", "/own_a", 0, 1).message(),
              HasSubstr("shared memory region 'r' already in manager"));
  memory_.Unregister("r");
  memory_.Unregister("nobody");
  EXPECT_EQ(memory_.Find("r").status().code(), Code::kInvalidInput);
  EXPECT_TRUE(memory_.Find("q").ok());
  memory_.UnregisterAll();
  EXPECT_TRUE(memory_.Regions().empty());
}

TEST_F(SharedMemoryTest, RefusesKeysThatAreNotAllowed) {
  const SharedFile file(folder_.path(), "own_a", 100);
  const SharedFile foreign(folder_.path(), "foreign", 100);
  for (const std::string key :
       {"", "/", "/own_/../foreign", "own_a/", "../own_a", ".own_a", "own_\n", "own_a b"}) {
    ExpectRefused(key, 0, 10, Code::kInvalidInput, "expected a key of 1 to 255");
  }
  ExpectRefused(std::string("own_a\0", 6), 0, 10, Code::kInvalidInput, "expected a key of 1 to 255");
  ExpectRefused("own_" + std::string(300, 'x'), 0, 10, Code::kInvalidInput, "expected a key of 1 to 255");
  ExpectRefused("/foreign", 0, 10, Code::kInvalidInput, "begins with 'own_' or 'other_'");
  ExpectRefused("/own_none", 0, 10, Code::kNotFound, "Unable to open shared memory region: '/own_none'");
}

TEST_F(SharedMemoryTest, RefusesWhatIsNoRegularFileOfTheUser) {
  const SharedFile foreign(folder_.path(), "foreign", 100);
  ASSERT_EQ(symlink(foreign.path().c_str(), (folder_.path() + "/own_link").c_str()), 0);
  ASSERT_EQ(mkdir((folder_.path() + "/own_folder").c_str(), 0700), 0);
  ASSERT_EQ(mkfifo((folder_.path() + "/own_pipe").c_str(), 0600), 0);
  ExpectRefused("/own_link", 0, 10, Code::kInvalidInput, "Unable to open");
  ExpectRefused("/own_folder", 0, 10, Code::kInvalidInput, "Unable to open");
  ExpectRefused("/own_pipe", 0, 10, Code::kInvalidInput, "no regular file");
  if (geteuid() != 0) return;  // only root gives files away
  const SharedFile given(folder_.path(), "own_given", 100);
  ASSERT_EQ(chown(given.path().c_str(), 4242, 4242), 0);
  ExpectRefused("/own_given", 0, 10, Code::kInvalidInput, "belongs to user 4242");
  SharedMemoryRules rules = Rules();
  rules.owners = {4242};
  EXPECT_TRUE(SharedMemory(rules).Register("r", "/own_given", 0, 10).ok());
}

TEST_F(SharedMemoryTest, RefusesSizesThatTheFileDoesNotHave) {
  const SharedFile file(folder_.path(), "own_a", 100);
  ExpectRefused("/own_a", 0, 0, Code::kInvalidInput, "byte_size of 1 or more");
  ExpectRefused("/own_a", 0, 101, Code::kInvalidInput, "at most 100, the size of '/own_a', got 101");
  ExpectRefused("/own_a", 100, 1, Code::kInvalidInput, "got 101");
  ExpectRefused("/own_a", UINT64_MAX, 2, Code::kInvalidInput, "too large");
  ExpectRefused("/own_a", UINT64_MAX - 1, 2, Code::kInvalidInput, "too large");
  ExpectRefused("/own_a", 0, UINT64_MAX, Code::kUnavailable, "max_bytes");
}

TEST_F(SharedMemoryTest, BoundsRegionsAndBytes) {
  const SharedFile file(folder_.path(), "own_a", 900);
  ASSERT_TRUE(memory_.Register("a", "/own_a", 0, 600).ok());
  EXPECT_EQ(memory_.Register("b", "/own_a", 0, 401).code(), Code::kUnavailable);
  ASSERT_TRUE(memory_.Register("b", "/own_a", 0, 399).ok());
  ASSERT_TRUE(memory_.Register("c", "/own_a", 0, 1).ok());
  memory_.Unregister("a");
  ASSERT_TRUE(memory_.Register("d", "/own_a", 0, 1).ok());
  EXPECT_THAT(memory_.Register("e", "/own_a", 0, 1).message(), HasSubstr("max_regions"));
  EXPECT_EQ(memory_.Register("", "/own_a", 0, 1).code(), Code::kInvalidInput);
  EXPECT_EQ(memory_.Register(std::string(2000, 'n'), "/own_a", 0, 1).code(), Code::kInvalidInput);
}

TEST_F(SharedMemoryTest, ChecksPlacesAgainstTheRegionAndTheFile) {
  SharedFile file(folder_.path(), "own_a", 100);
  ASSERT_TRUE(memory_.Register("r", "/own_a", 20, 60).ok());
  const auto region = *memory_.Find("r");
  EXPECT_TRUE(region->Check(0, 60).ok());
  EXPECT_TRUE(region->Check(60, 0).ok());
  for (const auto& [offset, bytes] : {std::pair<uint64_t, uint64_t>{0, 61},
                                      {61, 0},
                                      {1, 60},
                                      {UINT64_MAX, 2},
                                      {2, UINT64_MAX},
                                      {UINT64_MAX, UINT64_MAX}}) {
    EXPECT_THAT(region->Check(offset, bytes).message(),
                HasSubstr("Invalid offset + byte size for shared memory region: 'r'"));
  }
  file.Resize(79);
  EXPECT_THAT(region->Check(0, 60).message(), HasSubstr("'/own_a' was cut shorter"));
  EXPECT_TRUE(region->Check(0, 59).ok());
  file.Resize(100);
  EXPECT_TRUE(region->Check(0, 60).ok());
}

TEST_F(SharedMemoryTest, IsNotUsedAnyMoreWhenItBroke) {
  SharedFile file(folder_.path(), "own_a", 100);
  ASSERT_TRUE(memory_.Register("r", "/own_a", 0, 100).ok());
  const auto region = *memory_.Find("r");
  auto writable = region->Writable();
  ASSERT_TRUE(writable.ok());
  file.Resize(0);
  std::memset(*writable, 1, 100);
  file.Resize(100);
  EXPECT_THAT(region->Check(0, 1).message(), HasSubstr("not used any more"));
  memory_.Unregister("r");
  ASSERT_TRUE(memory_.Register("r", "/own_a", 0, 100).ok());
  EXPECT_TRUE((*memory_.Find("r"))->Check(0, 100).ok());
}

TEST_F(SharedMemoryTest, LivesOnForThoseWhoHoldItWhenItsNameIsRegisteredAnew) {
  SharedFile first(folder_.path(), "own_a", 10);
  SharedFile second(folder_.path(), "own_b", 10);
  first.Write("first", 0);
  second.Write("other", 0);
  ASSERT_TRUE(memory_.Register("r", "/own_a", 0, 5).ok());
  const auto held = *memory_.Find("r");
  memory_.Unregister("r");
  ASSERT_TRUE(memory_.Register("r", "/own_b", 0, 5).ok());
  EXPECT_EQ(std::memcmp(held->readable(), "first", 5), 0);
  EXPECT_EQ(std::memcmp((*memory_.Find("r"))->readable(), "other", 5), 0);
}

TEST_F(SharedMemoryTest, KnowsWhatOverlaps) {
  const SharedFile file(folder_.path(), "own_a", 100);
  const SharedFile second(folder_.path(), "own_b", 100);
  ASSERT_TRUE(memory_.Register("a", "/own_a", 0, 50).ok());
  ASSERT_TRUE(memory_.Register("again", "own_a", 40, 60).ok());
  ASSERT_TRUE(memory_.Register("b", "/own_b", 0, 50).ok());
  const auto a = *memory_.Find("a"), again = *memory_.Find("again"), b = *memory_.Find("b");
  EXPECT_TRUE(a->Overlaps(40, 10, *again, 0, 1));
  EXPECT_FALSE(a->Overlaps(0, 40, *again, 0, 60));
  EXPECT_FALSE(a->Overlaps(0, 50, *b, 0, 50));
}

TEST_F(SharedMemoryTest, StaysWholeWhenManyRegisterAndUse) {
  SharedFile file(folder_.path(), "own_a", 100);
  std::atomic<bool> stop{false};
  std::thread user([&] {
    while (!stop) {
      auto region = memory_.Find("r");
      if (region.ok() && (*region)->Check(0, 100).ok()) {
        EXPECT_TRUE((*region)->Writable().ok());
        EXPECT_EQ((*region)->readable()[99], std::byte{0});
      }
    }
  });
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(memory_.Register("r", "/own_a", 0, 100).ok());
    i % 2 == 0 ? memory_.Unregister("r") : memory_.UnregisterAll();
  }
  stop = true;
  user.join();
}

}  // namespace
}  // namespace falaj::wire::test

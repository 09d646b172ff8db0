#include "wire/guarded_mapping.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "wire/shared_file.h"

namespace falaj::wire::test {
namespace {

using Access = GuardedMapping::Access;
constexpr size_t kPage = 4096;

std::shared_ptr<const GuardedMapping> Map(const SharedFile& file, uint64_t offset, size_t bytes,
                                          Access access) {
  auto mapping = GuardedMapping::Map(file.fd(), offset, bytes, access);
  EXPECT_TRUE(mapping.ok()) << mapping.status().message();
  return mapping.ok() ? *mapping : nullptr;
}

TEST(GuardedMapping, ShowsAndChangesTheFilesBytesFromAnyOffset) {
  const SharedFolder folder;
  SharedFile file(folder.path(), "f", 3 * kPage);
  file.Write("hello", kPage + 7);
  const auto read = Map(file, kPage + 7, 5, Access::kRead);
  EXPECT_EQ(std::memcmp(read->data(), "hello", 5), 0);
  const auto write = Map(file, kPage + 7, 5, Access::kWrite);
  write->data()[0] = std::byte{'j'};
  EXPECT_EQ(file.Read(5, kPage + 7), "jello");
  EXPECT_FALSE(read->broken() || write->broken());
  EXPECT_TRUE(file.fine());
}

TEST(GuardedMapping, IsBrokenAndReadsZerosWhenTheFileWasCut) {
  const SharedFolder folder;
  SharedFile file(folder.path(), "f", 4 * kPage);
  file.Write("x", 3 * kPage);
  const auto other = Map(file, 0, kPage, Access::kRead);
  const auto mapping = Map(file, kPage, 3 * kPage, Access::kRead);
  EXPECT_EQ(mapping->data()[2 * kPage], std::byte{'x'});
  file.Resize(kPage);
  EXPECT_FALSE(mapping->broken());  // nobody has touched it yet
  std::vector<std::byte> copy(3 * kPage, std::byte{1});
  std::memcpy(copy.data(), mapping->data(), copy.size());
  EXPECT_EQ(copy, std::vector<std::byte>(3 * kPage));
  EXPECT_TRUE(mapping->broken());
  EXPECT_FALSE(other->broken());
}

TEST(GuardedMapping, TakesWritesWhenTheFileWasCut) {
  const SharedFolder folder;
  SharedFile file(folder.path(), "f", 4 * kPage);
  const auto mapping = Map(file, 0, 4 * kPage, Access::kWrite);
  file.Resize(0);
  std::memset(mapping->data(), 7, 4 * kPage);
  EXPECT_TRUE(mapping->broken());
  EXPECT_EQ(mapping->data()[kPage], std::byte{7});
  file.Resize(4 * kPage);
  EXPECT_EQ(file.Read(1, kPage), std::string(1, '\0'));  // what was written went nowhere
}

TEST(GuardedMapping, SurvivesWhenThreadsReadWhileTheFileIsCutAgainAndAgain) {
  const SharedFolder folder;
  SharedFile file(folder.path(), "f", 64 * kPage);
  std::atomic<bool> stop{false};
  std::atomic<int> broken{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      std::vector<std::byte> copy(64 * kPage);
      do {
        auto mapping = GuardedMapping::Map(file.fd(), 0, copy.size(), Access::kRead);
        if (!mapping.ok()) break;
        std::memcpy(copy.data(), (*mapping)->data(), copy.size());
        broken += (*mapping)->broken() ? 1 : 0;
      } while (!stop);
    });
  }
  for (int i = 0; i < 200000 && (broken < 20 || i < 2000); ++i) file.Resize(i % 2 == 0 ? 0 : 64 * kPage);
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GE(broken, 20);
}

std::atomic<int> caught{0};

TEST(GuardedMapping, LeavesOtherSignalsToTheHandlerBefore) {
  struct sigaction own {};
  own.sa_handler = [](int) { ++caught; };
  struct sigaction before {};
  ASSERT_EQ(sigaction(SIGBUS, &own, &before), 0);
  GuardedMapping::Guard();  // in front of it
  raise(SIGBUS);
  EXPECT_EQ(caught, 1);
  raise(SIGBUS);
  EXPECT_EQ(caught, 2);
  const SharedFolder folder;
  SharedFile file(folder.path(), "f", kPage);
  const auto mapping = Map(file, 0, kPage, Access::kRead);
  file.Resize(0);
  EXPECT_EQ(mapping->data()[0], std::byte{0});
  EXPECT_EQ(caught, 2);
  ASSERT_EQ(sigaction(SIGBUS, &before, nullptr), 0);
  GuardedMapping::Guard();
}

TEST(GuardedMapping, IsRefusedWhenThereAreTooMany) {
  const SharedFolder folder;
  SharedFile file(folder.path(), "f", kPage);
  std::vector<std::shared_ptr<const GuardedMapping>> mappings;
  Status status;
  for (int i = 0; i < 5000 && status.ok(); ++i) {
    auto mapping = GuardedMapping::Map(file.fd(), 0, 1, Access::kRead);
    status = mapping.status();
    if (mapping.ok()) mappings.push_back(*mapping);
  }
  EXPECT_EQ(status.code(), Code::kUnavailable);
  mappings.clear();
  EXPECT_TRUE(GuardedMapping::Map(file.fd(), 0, 1, Access::kRead).ok());
}

}  // namespace
}  // namespace falaj::wire::test

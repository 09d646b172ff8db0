#include "batch/request_queue.h"

#include <gtest/gtest.h>

#include <list>
#include <random>

#include "fakes/model_fixture.h"

namespace falaj::test {
namespace {

constexpr size_t kLevels = 3;

// What the queue is meant to be, in the plainest terms: a list per level.
struct ListModel {
  struct Item {
    Request* request;
    int64_t rows;
    int64_t width;  // requests of one width have one signature
  };
  std::vector<std::list<Item>> levels{kLevels};

  std::vector<Item> InOrder() const {
    std::vector<Item> all;
    for (const auto& level : levels) all.insert(all.end(), level.begin(), level.end());
    return all;
  }
  int64_t RowsUpTo(size_t level) const {
    int64_t rows = 0;
    for (size_t i = 0; i <= level; ++i) {
      for (const Item& item : levels[i]) rows += item.rows;
    }
    return rows;
  }
};

void ExpectEqual(const RequestQueue& queue, const ListModel& model) {
  ASSERT_EQ(queue.size(), model.InOrder().size());
  ASSERT_EQ(queue.empty(), model.InOrder().empty());
  ASSERT_EQ(queue.rows(), model.RowsUpTo(kLevels - 1));
  for (size_t level = 0; level < kLevels; ++level) {
    ASSERT_EQ(queue.LevelSize(level), model.levels[level].size());
    ASSERT_EQ(queue.RowsUpTo(level), model.RowsUpTo(level));
  }
}

// The view is the shortest beginning of the queue that has `max_rows` rows of the first one's kind.
void ExpectView(const RequestQueue& queue, const ListModel& model, int64_t max_rows) {
  std::vector<Waiting> view{{99, 99}};
  std::vector<Request*> requests{nullptr};
  queue.View(max_rows, view, requests);
  const auto all = model.InOrder();
  size_t expected = 0;
  for (int64_t like_first = 0; expected < all.size() && like_first < max_rows; ++expected) {
    if (all[expected].width == all[0].width) like_first += all[expected].rows;
  }
  expected = std::min(expected, RequestQueue::kWindow);
  ASSERT_EQ(view.size(), expected);
  ASSERT_EQ(requests.size(), expected);
  for (size_t i = 0; i < expected; ++i) {
    ASSERT_EQ(requests[i], all[i].request);
    ASSERT_EQ(view[i].rows, all[i].rows);
    ASSERT_EQ(view[i].signature == view[0].signature, all[i].width == all[0].width);
  }
}

class RequestQueueTest : public testing::Test {
 protected:
  static BatcherOptions Options() {
    BatcherOptions options = DefaultOptions({Spec("x", {-1, -1})}, {Spec("y", {-1, -1})});
    options.levels.resize(kLevels);
    options.max_queue_rows = 1 << 20;
    return options;
  }
  // Admitted by a real batcher, which sets its rows, level and signature, and queued only here.
  void Push(int64_t rows, int64_t width, size_t level) {
    auto request = model_.Prepare(0, {Shape{rows, width}}, 0, static_cast<int>(level) + 1);
    ASSERT_TRUE(request.ok()) << request.status().message();
    held_.push_back(*request);
    queue_.PushBack(request->get());
    list_.levels[level].push_back({request->get(), rows, width});
  }
  void RemoveNth(size_t level, size_t n) {
    const auto item = std::next(list_.levels[level].begin(), static_cast<int64_t>(n));
    queue_.Remove(item->request);
    list_.levels[level].erase(item);
  }

  ModelFixture model_{Options()};
  std::vector<RefPtr<Request>> held_;
  RequestQueue queue_{kLevels};
  ListModel list_;
};

TEST_F(RequestQueueTest, AgreesWithListsOverRandomSteps) {
  std::mt19937 random(3);
  for (int step = 0; step < 3000; ++step) {
    const size_t level = random() % kLevels;
    if (random() % 5 < 3) {
      Push(static_cast<int64_t>(random() % 9), 1 + static_cast<int64_t>(random() % 3), level);
    } else if (!list_.levels[level].empty()) {
      RemoveNth(level, random() % list_.levels[level].size());
    }
    ExpectEqual(queue_, list_);
    if (!queue_.empty()) ExpectView(queue_, list_, 1 + static_cast<int64_t>(random() % 64));
    ASSERT_FALSE(HasFatalFailure()) << "step " << step;
  }
}

TEST_F(RequestQueueTest, AViewIsBounded) {
  for (size_t i = 0; i < RequestQueue::kWindow + 10; ++i) Push(1, 1 + static_cast<int64_t>(i % 2), 0);
  ExpectView(queue_, list_, 1 << 20);
}

TEST_F(RequestQueueTest, IsEmptyAgainAfterRemovingFromTheMiddleOutwards) {
  for (int i = 0; i < 7; ++i) Push(1, 1, 1);
  while (!list_.levels[1].empty()) RemoveNth(1, list_.levels[1].size() / 2);
  ExpectEqual(queue_, list_);
  Push(2, 1, 1);
  ExpectEqual(queue_, list_);
}

}  // namespace
}  // namespace falaj::test

#include <atomic>
#include <thread>

#include "loads.h"

namespace falaj::bench {
namespace {

// Collects answers for the thread that asked.
class Mailbox final : public CompletionSink {
 public:
  void Deliver(std::span<Request* const> done) override {
    MutexLock lock(mu_);
    done_.insert(done_.end(), done.begin(), done.end());
    arrived_.NotifyOne();
  }
  void Take(std::vector<Request*>& done) {
    MutexLock lock(mu_);
    while (done_.empty()) arrived_.Wait(mu_);
    done.swap(done_);
  }

 private:
  Mutex mu_;
  CondVar arrived_;
  std::vector<Request*> done_ GUARDED_BY(mu_);
};

// Asks again on whichever thread brought the answer.
class Repeater final : public CompletionSink, public std::enable_shared_from_this<Repeater> {
 public:
  Repeater(ModelUnderTest* model, std::atomic<int64_t>* answered) : model_(model), answered_(answered) {}
  void Deliver(std::span<Request* const> done) override {
    answered_->fetch_add(static_cast<int64_t>(done.size()));
    for (Request* request : done) {
      request->Unref();
      if (stop.load() || !model_->Submit(shared_from_this(), 0).ok()) open.fetch_sub(1);
    }
    model_->batcher().Flush(Batcher::RunHere::kNever);
    if (open.load() == 0) open.notify_all();
  }
  std::atomic<bool> stop{false};
  std::atomic<int> open{0};

 private:
  ModelUnderTest* const model_;
  std::atomic<int64_t>* const answered_;
};

void AskAndWait(ModelUnderTest& model, const std::atomic<bool>& stop, std::atomic<int64_t>& answered) {
  const auto mailbox = std::make_shared<Mailbox>();
  std::vector<Request*> done;
  while (!stop.load(std::memory_order_relaxed)) {
    auto request = model.Prepare(mailbox, 0);
    if (!request.ok()) return;
    model.batcher().Submit(request->get(), Batcher::Deadline::kByTimer, Batcher::RunHere::kIfShort);
    mailbox->Take(done);
    (*request)->Unref();  // the mailbox's
    done.clear();
    answered.fetch_add(1, std::memory_order_relaxed);
  }
}

void AskAsEventLoop(ModelUnderTest& model, int inflight, const std::atomic<bool>& stop,
                    std::atomic<int64_t>& answered) {
  const auto mailbox = std::make_shared<Mailbox>();
  std::vector<Request*> done;
  int open = 0;
  for (; open < inflight && model.Submit(mailbox, 0).ok(); ++open) {
  }
  while (open > 0) {
    model.batcher().Flush(Batcher::RunHere::kIfShort);
    mailbox->Take(done);
    answered.fetch_add(static_cast<int64_t>(done.size()), std::memory_order_relaxed);
    for (Request* request : done) {
      request->Unref();
      --open;
    }
    const size_t again = stop.load(std::memory_order_relaxed) ? 0 : done.size();
    for (size_t i = 0; i < again && model.Submit(mailbox, 0).ok(); ++i) ++open;
    done.clear();
  }
}

}  // namespace

ClosedResult RunClosed(const Settings& settings, Client client, int threads, int inflight) {
  ModelUnderTest model(settings);
  std::atomic<bool> stop{false};
  std::atomic<int64_t> answered{0};
  const auto repeater = std::make_shared<Repeater>(&model, &answered);
  std::vector<std::jthread> askers;
  if (client == Client::kCallback) {
    for (int i = 0; i < inflight; ++i) {
      if (model.Submit(repeater, 0).ok()) repeater->open.fetch_add(1);
    }
    model.batcher().Flush(Batcher::RunHere::kNever);
  } else {
    const int count = client == Client::kBlocking ? inflight : threads;
    for (int i = 0; i < count; ++i) {
      askers.emplace_back([&, count] {
        if (client == Client::kBlocking) {
          AskAndWait(model, stop, answered);
        } else {
          AskAsEventLoop(model, inflight / count, stop, answered);
        }
      });
    }
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(settings.seconds / 5));  // warm-up
  const ModelStats before = model.batcher().Stats();
  const int64_t first = answered.load();
  const double cpu = CpuSeconds();
  const TimePoint begin = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::duration<double>(settings.seconds));
  const auto requests = static_cast<double>(answered.load() - first);
  const double cpu_used = CpuSeconds() - cpu;
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const ModelStats after = model.batcher().Stats();
  stop = true;
  repeater->stop = true;
  askers.clear();  // joins
  for (int open = repeater->open.load(); open > 0; open = repeater->open.load()) repeater->open.wait(open);
  const auto batches = static_cast<double>(after.batches - before.batches);
  return {requests / wall, cpu_used / requests * 1e6, static_cast<double>(after.rows - before.rows) / batches,
          static_cast<double>(after.on_submitter - before.on_submitter) / batches};
}

}  // namespace falaj::bench

#include "batch/part_stream.h"

#include <unistd.h>

#include <cstdint>
#include <utility>

#include "batch/batcher.h"

namespace falaj {

bool PartStream::Put(std::span<const TensorView> outputs, std::vector<std::shared_ptr<void>> owners) {
  if (whole_->sink == nullptr) return true;  // a warm-up
  const RefPtr<Request> part = whole_->MakePart(outputs, std::move(owners));
  Request* const done[] = {part.get()};
  MutexLock lock(mu_);
  while (waiting_ == kMost && !ended_) changed_.Wait(mu_);
  if (ended_) return false;
  ++waiting_;
  part->BeginPartOf(whole_);
  part->sink->Deliver(done);
  return true;
}

AnswerStream::Room PartStream::LookForRoom() {
  MutexLock lock(mu_);
  if (ended_) return Room::kEnded;
  return waiting_ < kMost ? Room::kSome : Room::kFull;
}

void PartStream::Watch(int event_fd) {
  MutexLock lock(mu_);
  watcher_ = event_fd;
  if (ended_) TellWatcher();
}

void PartStream::Taken() {
  MutexLock lock(mu_);
  if (waiting_-- == kMost) TellWatcher();
  changed_.NotifyOne();
}

void PartStream::End() {
  MutexLock lock(mu_);
  ended_ = true;
  TellWatcher();
  changed_.NotifyOne();
}

void PartStream::TellWatcher() {
  if (watcher_ < 0) return;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the watcher is awake already.
  [[maybe_unused]] const ssize_t written = write(watcher_, &one, sizeof(one));
}

void PartStream::Reset() {
  MutexLock lock(mu_);
  waiting_ = 0;
  ended_ = false;
  watcher_ = -1;
}

RefPtr<Request> Request::MakePart(std::span<const TensorView> outputs,
                                  std::vector<std::shared_ptr<void>> owners) {
  RefPtr<Request> part = batcher_->NewRequest();
  part->sink = sink;
  part->tag = tag;
  part->arrived = arrived;
  part->rows_ = rows_;
  part->outputs_.assign(outputs.begin(), outputs.end());
  part->own_outputs_.assign(owners.begin(), owners.end());
  part->state_.store(State::kFinished, std::memory_order_relaxed);
  return part;
}

void Request::BeginPartOf(Request* whole) {
  whole_ = RefPtr<Request>(whole);
  Ref();  // the sink's
}

}  // namespace falaj

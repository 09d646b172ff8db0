#include "wire/event_loop.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <limits>

namespace falaj::wire {

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
}

bool EventLoop::Add(int fd, uint32_t events, Source* source) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = source;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void EventLoop::Remove(int fd, Source* source) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  for (epoll_event& event : reported_) {
    if (event.data.ptr == source) event.data.ptr = nullptr;
  }
}

void EventLoop::At(TimePoint when, std::function<void()> what) {
  timers_.emplace_back(when, std::move(what));
}

void EventLoop::Post(std::function<void()> what) {
  {
    MutexLock lock(mu_);
    posted_.push_back(std::move(what));
  }
  Wake();
}

void EventLoop::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

void EventLoop::Turn(Wait wait) {
  const int got = epoll_wait(epoll_.get(), events_.data(), kEvents, TimeoutMilliseconds(wait));
  bool woken = false;
  reported_ = std::span(events_).first(static_cast<size_t>(std::max(got, 0)));
  for (const epoll_event& event : reported_) {
    if (auto* const source = static_cast<Source*>(event.data.ptr)) {
      source->OnEvents(event.events);
    } else {
      woken = true;  // or its source has gone
    }
  }
  reported_ = {};
  if (!timers_.empty()) RunDue();
  if (woken) RunPosted();
}

// Rounded up, so that what is waited for is due.
int EventLoop::TimeoutMilliseconds(Wait wait) const {
  if (wait == Wait::kNo) return 0;
  if (timers_.empty()) return -1;
  const auto first = std::min_element(timers_.begin(), timers_.end(),
                                      [](const auto& a, const auto& b) { return a.first < b.first; });
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(first->first - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, std::numeric_limits<int>::max()));
}

void EventLoop::RunDue() {
  const TimePoint now = std::chrono::steady_clock::now();
  const auto due =
      std::partition(timers_.begin(), timers_.end(), [&](const auto& t) { return t.first > now; });
  for (auto timer = due; timer != timers_.end(); ++timer) taken_.push_back(std::move(timer->second));
  timers_.erase(due, timers_.end());  // before they are called: they may set new ones
  for (const auto& what : taken_) what();
  taken_.clear();
}

void EventLoop::RunPosted() {
  {
    MutexLock lock(mu_);
    taken_.swap(posted_);
  }
  for (const auto& what : taken_) what();
  taken_.clear();
}

}  // namespace falaj::wire

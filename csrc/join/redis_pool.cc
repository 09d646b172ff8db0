#include "join/redis_pool.h"

#include <algorithm>

namespace falaj {

Result<std::shared_ptr<RedisPool>> RedisPool::Make(RedisOptions options) {
  TlsContext tls;
  if (options.tls) {
    auto made = MakeTlsClient(options);
    if (!made.ok()) return made.status();
    tls = std::move(*made);
  }
  return std::shared_ptr<RedisPool>(new RedisPool(std::move(options), std::move(tls)));
}

RedisPool::~RedisPool() {
  std::thread connector;
  {
    MutexLock lock(mu_);
    ending_ = true;
    connector = std::move(connector_);
  }
  wanted_changed_.NotifyAll();
  if (connector.joinable()) connector.join();
}

Result<RedisPool::Lease> RedisPool::Take(TimePoint deadline) {
  if (auto idle = TakeIdle()) {
    const bool reused = idle->proven();
    return Lease(*this, std::move(idle), reused);
  }
  FALAJ_RETURN_IF_ERROR(MayConnect());
  auto opened = RedisConnection::Open(address_, options_, tls_.get(), deadline);
  if (!opened.ok()) {
    MutexLock lock(mu_);
    Failed();
    return opened.status();
  }
  return Lease(*this, std::move(*opened), false);
}

Result<RedisPool::Lease> RedisPool::TakeSoon(TimePoint deadline) {
  if (auto idle = TakeIdle()) {
    const bool reused = idle->proven();
    return Lease(*this, std::move(idle), reused);
  }
  FALAJ_RETURN_IF_ERROR(MayConnect());
  MutexLock lock(mu_);
  if (!connector_.joinable()) connector_ = std::thread([this] { Connect(); });
  const uint64_t refusals = refusals_;
  while (idle_.empty()) {
    if (refusals_ != refusals) return refusal_;
    if (std::chrono::steady_clock::now() >= deadline) {
      return DeadlineExceeded("online store " + address_.text() +
                              ": connecting took longer than there was time");
    }
    if (!connecting_) {
      wanted_ = true;
      wanted_changed_.NotifyOne();
    }
    came_.WaitUntil(mu_, deadline);
  }
  std::unique_ptr<RedisConnection> taken = std::move(idle_.back());
  idle_.pop_back();
  const bool reused = taken->proven();
  return Lease(*this, std::move(taken), reused);
}

// The thread that connects.
void RedisPool::Connect() {
  for (;;) {
    {
      MutexLock lock(mu_);
      while (!wanted_ && !ending_) wanted_changed_.Wait(mu_);
      if (ending_) return;
      wanted_ = false;
      connecting_ = true;
    }
    const TimePoint deadline = std::chrono::steady_clock::now() + options_.read_timeout;
    auto opened = RedisConnection::Open(address_, options_, tls_.get(), deadline);
    {
      MutexLock lock(mu_);
      connecting_ = false;
      if (opened.ok()) {
        idle_.push_back(std::move(*opened));
      } else {
        Failed();
        ++refusals_;
        refusal_ = opened.status();
      }
    }
    came_.NotifyAll();
  }
}

std::unique_ptr<RedisConnection> RedisPool::TakeIdle() {
  for (;;) {
    std::unique_ptr<RedisConnection> taken;
    {
      MutexLock lock(mu_);
      if (idle_.empty()) return nullptr;
      taken = std::move(idle_.back());
      idle_.pop_back();
    }
    if (taken->Quiet()) return taken;  // not with the lock: it is a call of the system's
  }
}

Status RedisPool::MayConnect() {
  MutexLock lock(mu_);
  if (failures_ == 0) return Status::Ok();
  const TimePoint now = std::chrono::steady_clock::now();
  if (now < next_try_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_try_ - now);
    return Unavailable("online store " + address_.text() + ": did not answer; is tried again in " +
                       std::to_string(left.count()) + " ms");
  }
  next_try_ = now + kLongestPause;  // this caller tries; Failed and GiveBack tell the others
  return Status::Ok();
}

void RedisPool::Failed() {
  const Nanos pause = std::min(kFirstPause * (int64_t{1} << std::min(failures_, 10)), kLongestPause);
  ++failures_;
  // Not all servers of a fleet at once: the clock's low digits are as good as chance.
  const TimePoint now = std::chrono::steady_clock::now();
  next_try_ = now + pause / 2 + pause / 2 * (now.time_since_epoch().count() % 1000) / 1000;
}

void RedisPool::GiveBack(std::unique_ptr<RedisConnection> connection, bool reused) {
  std::vector<std::unique_ptr<RedisConnection>> dropped;  // after the lock
  MutexLock lock(mu_);
  if (connection->usable()) {
    failures_ = 0;
    if (idle_.size() < kMostIdle) idle_.push_back(std::move(connection));
    came_.NotifyOne();
    return;
  }
  if (!connection->lost()) {
    failures_ = 0;  // it answered, if with an error
    return;
  }
  // What was idle beside it is as old.
  if (reused) dropped.swap(idle_);
  if (!reused) Failed();
}

}  // namespace falaj

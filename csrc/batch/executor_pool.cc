#include "batch/executor_pool.h"

#include <pthread.h>

#include <algorithm>

namespace falaj {

ExecutorPool::ExecutorPool(int cores, Clock* clock)
    : cores_(std::max(1, cores)), clock_(clock), free_cores_(std::max(1, cores)) {
  MutexLock lock(mu_);
  SpawnUpTo(cores_);
}

ExecutorPool::~ExecutorPool() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(mu_);
    stop_ = true;
    threads.swap(threads_);
  }
  work_.NotifyAll();
  for (std::thread& thread : threads) thread.join();
}

void ExecutorPool::SpawnUpTo(int threads) {
  while (static_cast<int>(threads_.size()) < threads) {
    threads_.emplace_back([this] { Work(); });
    pthread_setname_np(threads_.back().native_handle(), "falaj-exec");
  }
}

void ExecutorPool::Add(PoolClient* client, int cores_per_batch, int instances) {
  MutexLock lock(mu_);
  client->cores_ = std::min(cores_per_batch, cores_);
  client->virtual_time_ = virtual_now_;
  clients_.push_back(client);
  client->extra_threads_ = cores_per_batch == 0 ? instances : 0;
  extra_threads_ += client->extra_threads_;
  // Threads are not ended when such a client leaves: sleeping they cost nothing, and its successor (a reload)
  // uses them again.
  SpawnUpTo(cores_ + extra_threads_);
}

void ExecutorPool::Remove(PoolClient* client) {
  MutexLock lock(mu_);
  client->offered_ = 0;
  while (client->active_ > 0) removed_.Wait(mu_);
  const auto it = std::find(clients_.begin(), clients_.end(), client);
  if (it == clients_.end()) return;
  clients_.erase(it);
  extra_threads_ -= client->extra_threads_;
}

void ExecutorPool::Offer(PoolClient* client, int batches) {
  int wake = 0;
  {
    MutexLock lock(mu_);
    if (client->offered_ == 0 && client->active_ == 0) {
      client->virtual_time_ = std::max(client->virtual_time_, virtual_now_);
    }
    client->offered_ += batches;
    wake = std::min(batches, sleeping_);
  }
  for (int i = 0; i < wake; ++i) work_.NotifyOne();
}

PoolClient* ExecutorPool::Next() {
  PoolClient* next = nullptr;
  PoolClient* next_waiter = nullptr;
  for (PoolClient* client : clients_) {
    if (client->offered_ == 0) continue;
    PoolClient*& best = client->cores_ == 0 ? next_waiter : next;
    if (best == nullptr || client->virtual_time_ < best->virtual_time_) best = client;
  }
  if (next_waiter != nullptr) return next_waiter;  // needs no core, so it delays nobody
  // The client whose turn it is may need more cores than are free: the others then wait too, or a wide model
  // would never find enough at a time.
  return next != nullptr && next->cores_ <= free_cores_ ? next : nullptr;
}

void ExecutorPool::Work() {
  MutexLock lock(mu_);
  while (true) {
    PoolClient* client = Next();
    if (client == nullptr) {
      if (stop_) return;
      ++sleeping_;
      work_.Wait(mu_);
      --sleeping_;
      continue;
    }
    --client->offered_;
    ++client->active_;
    free_cores_ -= client->cores_;
    if (client->cores_ > 0) virtual_now_ = std::max(virtual_now_, client->virtual_time_);
    // Whoever was offered while this client waited for cores may have found nothing to do and gone to sleep.
    const bool more = sleeping_ > 0 && Next() != nullptr;
    mu_.Unlock();
    if (more) work_.NotifyOne();
    const TimePoint begin = clock_->Now();
    client->RunOne();
    const Nanos elapsed = clock_->Now() - begin;
    mu_.Lock();
    free_cores_ += client->cores_;
    client->virtual_time_ += elapsed * std::max(1, client->cores_);
    if (--client->active_ == 0) removed_.NotifyAll();
  }
}

}  // namespace falaj

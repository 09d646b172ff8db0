// The threads that run batches, shared by all models of a process.
#pragma once

#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/mutex.h"

namespace falaj {

// Something with batches to run (a Batcher).
class PoolClient {
 public:
  virtual ~PoolClient() = default;
  // Runs at most one batch on the calling thread. Called from several executors at once, with no lock held.
  virtual void RunOne() = 0;

 private:
  friend class ExecutorPool;
  // Guarded by the pool's mutex.
  int cores_ = 1;          // that one batch keeps busy; 0: it mostly waits (Python)
  int offered_ = 0;        // batches it wants to have run
  int active_ = 0;         // executors inside RunOne
  int extra_threads_ = 0;  // that it brought along
  Nanos virtual_time_{0};  // core time received, for fairness
};

// Thread-safe. Invariants:
// 1. The batches running at a time keep at most `cores` cores busy, whatever the models ask for.
// 2. Among clients with work, the one that has received the least core time runs next; one that was idle
//    does not save up time. So a busy model cannot starve another.
// 3. Executors sleep when there is nothing to do: no polling, no spinning.
// Lock order: a client may call Offer with its own mutex held; the pool calls RunOne with none.
class ExecutorPool {
 public:
  ExecutorPool(int cores, Clock* clock);
  // REQUIRES: all clients were removed.
  ~ExecutorPool();
  ExecutorPool(const ExecutorPool&) = delete;
  ExecutorPool& operator=(const ExecutorPool&) = delete;

  // `cores_per_batch` 0 is for batches that wait rather than compute: each may then use an executor of its
  // own, `instances` of which are added to the pool for as long as the client is there.
  void Add(PoolClient* client, int cores_per_batch, int instances) EXCLUDES(mu_);
  // Returns when no executor is inside the client any more; its offers are forgotten.
  void Remove(PoolClient* client) EXCLUDES(mu_);

  // `client` wants `batches` more runs. Cheap when all executors are busy.
  void Offer(PoolClient* client, int batches) EXCLUDES(mu_);

  int cores() const { return cores_; }

 private:
  void Work();
  PoolClient* Next() REQUIRES(mu_);
  void SpawnUpTo(int threads) REQUIRES(mu_);

  const int cores_;
  Clock* const clock_;

  mutable Mutex mu_;
  CondVar work_;     // an offer, a freed core, or stop
  CondVar removed_;  // a client's last executor left it
  std::vector<PoolClient*> clients_ GUARDED_BY(mu_);
  std::vector<std::thread> threads_ GUARDED_BY(mu_);
  int sleeping_ GUARDED_BY(mu_) = 0;
  int free_cores_ GUARDED_BY(mu_);
  int extra_threads_ GUARDED_BY(mu_) = 0;
  Nanos virtual_now_ GUARDED_BY(mu_){0};
  bool stop_ GUARDED_BY(mu_) = false;
};

}  // namespace falaj

// The connections to one server: those that are not in use, and when to try again where there are none.
#pragma once

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "core/status.h"
#include "join/redis_connection.h"

namespace falaj {

// Shared by a store and its views. Thread-safe. There are as many connections as callers at a time. Where the
// server cannot be reached or does not answer, the next attempts fail at once for a time that grows from
// kFirstPause to kLongestPause, and then one caller at a time tries.
//
// Who has less time than a connection may take to be made waits for one that the pool's own thread makes: it
// is made all the same, for the next one.
class RedisPool {
 public:
  static constexpr Nanos kFirstPause = std::chrono::milliseconds(10);
  static constexpr Nanos kLongestPause = std::chrono::seconds(1);

  // A connection, one caller's until the lease ends; it then goes back where it is still of use.
  class Lease {
   public:
    Lease(RedisPool& pool, std::unique_ptr<RedisConnection> connection, bool reused)
        : pool_(&pool), connection_(std::move(connection)), reused_(reused) {}
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (connection_ != nullptr) pool_->GiveBack(std::move(connection_), reused_);
    }
    RedisConnection& operator*() const { return *connection_; }
    RedisConnection* operator->() const { return connection_.get(); }
    // Closes it: for one that is in the middle of something.
    void Drop() { connection_.reset(); }
    // Whether it was in use before: it may have been cut meanwhile, which says nothing of the server.
    bool reused() const { return reused_; }

   private:
    RedisPool* pool_;
    std::unique_ptr<RedisConnection> connection_;
    bool reused_;
  };

  // Fails with InvalidInput where the options' files cannot be used. Does not connect.
  static Result<std::shared_ptr<RedisPool>> Make(RedisOptions options);
  ~RedisPool();

  Result<Lease> Take(TimePoint deadline) EXCLUDES(mu_);
  // Take, for less time than a connection may take to be made: read_timeout.
  Result<Lease> TakeSoon(TimePoint deadline) EXCLUDES(mu_);

  // What was said and not yet answered, or why it could not be said.
  struct Said {
    std::optional<Lease> lease;
    Status status;
  };

  // The first half of Ask. `soon`: by TakeSoon.
  template <typename Say>
  Said Begin(TimePoint deadline, bool soon, const Say& say) {
    auto lease = soon ? TakeSoon(deadline) : Take(deadline);
    if (!lease.ok()) return {std::nullopt, lease.status()};
    RedisCommands& commands = (*lease)->commands();
    commands.Clear();
    say(commands);
    Status status = (*lease)->Send(deadline);
    return {std::move(*lease), std::move(status)};
  }

  // The second half of Ask, told the same.
  template <typename Say, typename Use>
  Status Finish(Said said, TimePoint deadline, bool soon, const Say& say, const Use& use) {
    while (said.lease) {
      RedisConnection& connection = **said.lease;
      const RedisReplies* replies = nullptr;
      if (said.status.ok()) said.status = connection.Receive(deadline, replies);
      if (said.status.ok()) return use(*replies);
      const bool cut = connection.lost() && said.status.code() == Code::kUnavailable;
      if (!said.lease->reused() || !cut) break;
      said.lease.reset();
      Said again = Begin(deadline, soon, say);
      said.status = std::move(again.status);
      if (again.lease) said.lease.emplace(std::move(*again.lease));
    }
    return said.status;
  }

  // Says commands, and uses the replies. A connection that was cut while nobody used it is replaced, once:
  // the commands must be such as may be said twice.
  //   say(RedisCommands&); Status use(const RedisReplies&)
  template <typename Say, typename Use>
  Status Ask(TimePoint deadline, Say say, Use use) {
    return Finish(Begin(deadline, false, say), deadline, false, say, use);
  }

  const RedisOptions& options() const { return options_; }
  std::string name() const { return address_.text(); }

 private:
  static constexpr size_t kMostIdle = 64;

  RedisPool(RedisOptions options, TlsContext tls)
      : options_(std::move(options)), tls_(std::move(tls)), address_(options_.host, options_.port) {}
  std::unique_ptr<RedisConnection> TakeIdle() EXCLUDES(mu_);
  void GiveBack(std::unique_ptr<RedisConnection> connection, bool reused) EXCLUDES(mu_);
  Status MayConnect() EXCLUDES(mu_);
  void Failed() REQUIRES(mu_);
  void Connect() EXCLUDES(mu_);

  const RedisOptions options_;
  const TlsContext tls_;  // nullptr: none
  RedisAddress address_;
  Mutex mu_;
  std::vector<std::unique_ptr<RedisConnection>> idle_ GUARDED_BY(mu_);
  int failures_ GUARDED_BY(mu_) = 0;  // since the last answer
  TimePoint next_try_ GUARDED_BY(mu_){};
  // Of the thread that connects, which is started when it is first needed.
  std::thread connector_ GUARDED_BY(mu_);
  CondVar wanted_changed_;
  CondVar came_;  // a connection, or that there is none
  bool wanted_ GUARDED_BY(mu_) = false;
  bool connecting_ GUARDED_BY(mu_) = false;
  bool ending_ GUARDED_BY(mu_) = false;
  uint64_t refusals_ GUARDED_BY(mu_) = 0;  // connections that could not be made
  Status refusal_ GUARDED_BY(mu_);         // why the last could not
};

}  // namespace falaj

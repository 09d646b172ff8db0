// A server's name and what it stands for, found without waiting longer than is left.
#pragma once

#include <netdb.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "core/status.h"

namespace falaj {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// Thread-safe; one look-up at a time, which all wait for that need it.
class RedisAddress {
 public:
  RedisAddress(std::string host, uint16_t port);
  // Waits for what is being looked up, as long as the machine's resolver does. REQUIRES: nobody else does.
  ~RedisAddress();
  RedisAddress(const RedisAddress&) = delete;
  RedisAddress& operator=(const RedisAddress&) = delete;

  // Looks the name up; a number is taken as it is. Fails with DeadlineExceeded, and goes on looking up for
  // the next call.
  Result<std::vector<SocketAddress>> Find(TimePoint deadline) EXCLUDES(mu_);

  const std::string& host() const { return host_; }
  bool numeric() const { return !numeric_.empty(); }
  std::string text() const { return host_ + ":" + port_; }

 private:
  struct LookUp;
  std::shared_ptr<LookUp> Ask() REQUIRES(mu_);

  const std::string host_;
  const std::string port_;
  std::vector<SocketAddress> numeric_;  // constant after construction
  const addrinfo hints_;
  Mutex mu_;
  std::shared_ptr<LookUp> asked_ GUARDED_BY(mu_);  // that is under way; of this and of who waits for it
};

}  // namespace falaj

// How much of the server one client holds, so that no client can hold all of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/mutex.h"
#include "wire/wire_options.h"
#include "wire/wire_stats.h"

namespace falaj::wire {

// What one client (an address; of IPv6 its /64) holds at the moment.
struct ClientHoldings {
  std::atomic<int64_t> connections{0};
  std::atomic<int64_t> requests{0};
};

// Thread-safe: one for all I/O threads.
class ClientShares {
 public:
  explicit ClientShares(const WireOptions& options);

  // Counts a connection in, or says which bound it would pass. Disconnect follows for what was counted.
  std::optional<Refusal> Connect(const std::string& address, std::shared_ptr<ClientHoldings>& holdings)
      EXCLUDES(mu_);
  void Disconnect(const std::string& address, const std::shared_ptr<ClientHoldings>& holdings) EXCLUDES(mu_);

  // Counts a request in, or says which bound it would pass. While more than half of max_requests_in_flight
  // are taken, no client may begin more than an equal share of them among those that have any. Two atomics.
  std::optional<Refusal> Begin(ClientHoldings& holdings);
  void End(ClientHoldings& holdings);

  // Memory for bodies and answers, all connections together.
  bool Buffer(int64_t bytes);
  void Unbuffer(int64_t bytes);

  int64_t connections() const { return connections_.load(std::memory_order_relaxed); }
  int64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  int64_t buffered_bytes() const { return buffered_.load(std::memory_order_relaxed); }

 private:
  const int64_t max_connections_, max_connections_per_client_, max_requests_, max_requests_per_client_,
      max_buffered_;
  std::atomic<int64_t> connections_{0};
  std::atomic<int64_t> requests_{0};
  std::atomic<int64_t> buffered_{0};
  std::atomic<int64_t> active_clients_{0};  // with a request under way
  Mutex mu_;
  std::map<std::string, std::shared_ptr<ClientHoldings>> clients_ GUARDED_BY(mu_);
};

}  // namespace falaj::wire

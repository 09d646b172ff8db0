#include "wire/client_shares.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

namespace falaj::wire {
namespace {

// The name that a client's connections are counted under. Of IPv6 a client has at least a /64 to itself.
std::string KeyOf(const std::string& address) {
  in6_addr raw{};
  if (inet_pton(AF_INET6, address.c_str(), &raw) != 1) return address;
  return {reinterpret_cast<const char*>(raw.s6_addr), 8};
}

}  // namespace

ClientShares::ClientShares(const WireOptions& options)
    : max_connections_(options.max_connections),
      max_connections_per_client_(options.max_connections_per_client),
      max_requests_(options.max_requests_in_flight),
      max_requests_per_client_(options.max_requests_per_client),
      max_buffered_(options.max_buffered_bytes) {}

std::optional<Refusal> ClientShares::Connect(const std::string& address,
                                             std::shared_ptr<ClientHoldings>& holdings) {
  MutexLock lock(mu_);
  if (connections_.load(std::memory_order_relaxed) >= max_connections_) return Refusal::kConnections;
  auto& client = clients_[KeyOf(address)];
  if (client == nullptr) client = std::make_shared<ClientHoldings>();
  if (client->connections.load(std::memory_order_relaxed) >= max_connections_per_client_) {
    return Refusal::kClientConnections;
  }
  client->connections.fetch_add(1, std::memory_order_relaxed);
  connections_.fetch_add(1, std::memory_order_relaxed);
  holdings = client;
  return std::nullopt;
}

void ClientShares::Disconnect(const std::string& address, const std::shared_ptr<ClientHoldings>& holdings) {
  MutexLock lock(mu_);
  connections_.fetch_sub(1, std::memory_order_relaxed);
  if (holdings->connections.fetch_sub(1, std::memory_order_relaxed) > 1) return;
  // Requests of his that are still being withdrawn count on the old entry, which they hold.
  const auto found = clients_.find(KeyOf(address));
  if (found != clients_.end() && found->second == holdings) clients_.erase(found);
}

std::optional<Refusal> ClientShares::Begin(ClientHoldings& holdings) {
  const int64_t total = requests_.fetch_add(1, std::memory_order_relaxed) + 1;
  const int64_t own = holdings.requests.fetch_add(1, std::memory_order_relaxed) + 1;
  if (own == 1) active_clients_.fetch_add(1, std::memory_order_relaxed);
  std::optional<Refusal> refusal;
  if (total > max_requests_) {
    refusal = Refusal::kInFlight;
  } else if (own > max_requests_per_client_) {
    refusal = Refusal::kClientShare;
  } else if (total > max_requests_ / 2) {
    const int64_t clients = std::max<int64_t>(1, active_clients_.load(std::memory_order_relaxed));
    if (own > std::max<int64_t>(1, max_requests_ / clients)) refusal = Refusal::kClientShare;
  }
  if (refusal) End(holdings);
  return refusal;
}

void ClientShares::End(ClientHoldings& holdings) {
  if (holdings.requests.fetch_sub(1, std::memory_order_relaxed) == 1) {
    active_clients_.fetch_sub(1, std::memory_order_relaxed);
  }
  requests_.fetch_sub(1, std::memory_order_relaxed);
}

bool ClientShares::Buffer(int64_t bytes) {
  if (buffered_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= max_buffered_) return true;
  Unbuffer(bytes);
  return false;
}

void ClientShares::Unbuffer(int64_t bytes) { buffered_.fetch_sub(bytes, std::memory_order_relaxed); }

}  // namespace falaj::wire

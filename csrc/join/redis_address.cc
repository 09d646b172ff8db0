#include "join/redis_address.h"

#include <cstring>

namespace falaj {
namespace {

constexpr addrinfo Hints(int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  return hints;
}

// Takes what was found, and frees it.
std::vector<SocketAddress> Taken(addrinfo* found) {
  std::vector<SocketAddress> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (each->ai_addrlen > sizeof(sockaddr_storage)) continue;
    SocketAddress& address = addresses.emplace_back();
    address.size = each->ai_addrlen;
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
  }
  if (found != nullptr) freeaddrinfo(found);
  return addresses;
}

}  // namespace

RedisAddress::RedisAddress(std::string host, uint16_t port)
    : host_(std::move(host)), port_(std::to_string(port)), hints_(Hints(0)) {
  const addrinfo hints = Hints(AI_NUMERICHOST | AI_NUMERICSERV);
  addrinfo* found = nullptr;
  if (getaddrinfo(host_.c_str(), port_.c_str(), &hints, &found) == 0) numeric_ = Taken(found);
}

RedisAddress::~RedisAddress() {
  MutexLock lock(mu_);
  if (asked_ == nullptr) return;
  const gaicb* const list[] = {asked_.get()};
  while (gai_error(asked_.get()) == EAI_INPROGRESS) gai_suspend(list, 1, nullptr);
  Taken(asked_->ar_result);
}

Result<std::vector<SocketAddress>> RedisAddress::Find(TimePoint deadline) {
  if (numeric()) return numeric_;
  MutexLock lock(mu_);
  if (asked_ == nullptr) {
    asked_ = std::make_unique<gaicb>();
    asked_->ar_name = host_.c_str();
    asked_->ar_service = port_.c_str();
    asked_->ar_request = &hints_;
    gaicb* list[] = {asked_.get()};
    if (getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr) != 0) {
      asked_ = nullptr;
      return Unavailable("online store: '" + host_ + "' cannot be looked up now");
    }
  }
  const gaicb* const list[] = {asked_.get()};
  while (gai_error(asked_.get()) == EAI_INPROGRESS) {
    const Nanos left = deadline - std::chrono::steady_clock::now();
    if (left <= Nanos::zero()) {
      return DeadlineExceeded("online store: looking '" + host_ + "' up took longer than there was time");
    }
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    const timespec wait{seconds.count(), (left - seconds).count()};
    gai_suspend(list, 1, &wait);
  }
  const int code = gai_error(asked_.get());
  std::vector<SocketAddress> addresses = Taken(code == 0 ? asked_->ar_result : nullptr);
  asked_ = nullptr;
  if (code == 0 && !addresses.empty()) return addresses;
  return Unavailable("online store: '" + host_ + "' is not found: " + gai_strerror(code));
}

}  // namespace falaj

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

// What glibc's own thread looks up. It ends, whoever waits: the last owner waits for it.
struct RedisAddress::LookUp {
  gaicb request{};
  int code = 0;
  std::vector<SocketAddress> found;  // once it is done; guarded by mu_, as is `code`
  bool taken = false;

  ~LookUp() {
    const gaicb* const list[] = {&request};
    while (gai_error(&request) == EAI_INPROGRESS) gai_suspend(list, 1, nullptr);
    if (!taken && request.ar_result != nullptr) freeaddrinfo(request.ar_result);
  }
};

RedisAddress::~RedisAddress() = default;

std::shared_ptr<RedisAddress::LookUp> RedisAddress::Ask() {
  auto asked = std::make_shared<LookUp>();
  asked->request.ar_name = host_.c_str();
  asked->request.ar_service = port_.c_str();
  asked->request.ar_request = &hints_;
  gaicb* list[] = {&asked->request};
  return getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr) == 0 ? asked : nullptr;
}

Result<std::vector<SocketAddress>> RedisAddress::Find(TimePoint deadline) {
  if (numeric()) return numeric_;
  std::shared_ptr<LookUp> asked;
  {
    MutexLock lock(mu_);
    if (asked_ == nullptr) asked_ = Ask();
    asked = asked_;
  }
  if (asked == nullptr) return Unavailable("online store: '" + host_ + "' cannot be looked up now");
  const gaicb* const list[] = {&asked->request};
  while (gai_error(&asked->request) == EAI_INPROGRESS) {
    const Nanos left = deadline - std::chrono::steady_clock::now();
    if (left <= Nanos::zero()) {
      return DeadlineExceeded("online store: looking '" + host_ + "' up took longer than there was time");
    }
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    const timespec wait{seconds.count(), (left - seconds).count()};
    gai_suspend(list, 1, &wait);
  }
  MutexLock lock(mu_);
  if (!asked->taken) {
    asked->taken = true;
    asked->code = gai_error(&asked->request);
    asked->found = Taken(asked->code == 0 ? asked->request.ar_result : nullptr);
  }
  if (asked_ == asked) asked_ = nullptr;  // the next asks anew
  if (asked->code == 0 && !asked->found.empty()) return asked->found;
  return Unavailable("online store: '" + host_ + "' is not found: " + gai_strerror(asked->code));
}

}  // namespace falaj

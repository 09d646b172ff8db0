#include "join/redis_connection.h"

#include <algorithm>
#include <array>

namespace falaj {
namespace {

struct Known {
  std::string_view begin;  // of the error, as the server says it
  Code code;
};

// Others are kInternal.
constexpr std::array kErrors = {
    Known{"LOADING ", Code::kUnavailable},     Known{"BUSY ", Code::kUnavailable},
    Known{"OOM ", Code::kUnavailable},         Known{"READONLY ", Code::kUnavailable},
    Known{"MASTERDOWN ", Code::kUnavailable},  Known{"MISCONF ", Code::kUnavailable},
    Known{"NOREPLICAS ", Code::kUnavailable},  Known{"ERR max number of clients", Code::kUnavailable},
    Known{"NOAUTH ", Code::kInvalidInput},     Known{"WRONGPASS ", Code::kInvalidInput},
    Known{"NOPERM ", Code::kInvalidInput},     Known{"ERR invalid password", Code::kInvalidInput},
    Known{"ERR AUTH ", Code::kInvalidInput},   Known{"ERR Client sent AUTH", Code::kInvalidInput},
    Known{"ERR DB index", Code::kInvalidInput}};

// A node that has only some of the keys, which would be missed.
constexpr std::array<std::string_view, 5> kCluster = {"MOVED ", "ASK ", "CROSSSLOT ", "CLUSTERDOWN ",
                                                      "TRYAGAIN "};
constexpr size_t kMostSaid = 200;  // bytes of a server's error that are told

}  // namespace

Result<std::unique_ptr<RedisConnection>> RedisConnection::Open(RedisAddress& address,
                                                               const RedisOptions& options, SSL_CTX* tls,
                                                               TimePoint deadline) {
  auto socket = RedisSocket::Connect(address, tls, deadline);
  if (!socket.ok()) return socket.status();
  std::unique_ptr<RedisConnection> made(new RedisConnection(std::move(*socket), address.text()));
  FALAJ_RETURN_IF_ERROR(made->Introduce(options, deadline));
  return made;
}

Status RedisConnection::Introduce(const RedisOptions& options, TimePoint deadline) {
  commands_.Clear();
  if (!options.user.empty()) {
    commands_.Begin(3).Add("AUTH").Add(options.user).Add(options.password);
  } else if (!options.password.empty()) {
    commands_.Begin(2).Add("AUTH").Add(options.password);
  }
  commands_.Begin(2).Add("SELECT").Add(std::to_string(options.database));
  const RedisReplies* replies = nullptr;
  return Ask(deadline, replies);
}

Status RedisConnection::Ask(TimePoint deadline, const RedisReplies*& replies) {
  FALAJ_RETURN_IF_ERROR(Send(deadline));
  return Receive(deadline, replies);
}

Status RedisConnection::Send(TimePoint deadline) {
  reader_.Expect(commands_.count());
  Status status = socket_->Send(commands_.bytes(), deadline);
  lost_ = !status.ok();
  failed_ = failed_ || lost_;
  return status;
}

Status RedisConnection::Receive(TimePoint deadline, const RedisReplies*& replies) {
  Status status = Gather(deadline);
  lost_ = !status.ok();
  if (status.ok()) {
    ++answers_;
    status = ErrorIn(reader_.replies());
  }
  failed_ = failed_ || !status.ok();
  replies = &reader_.replies();
  return status;
}

Status RedisConnection::Gather(TimePoint deadline) {
  while (!reader_.done()) {
    const auto got = socket_->Receive(room_, deadline);
    if (!got.ok()) return got.status();
    FALAJ_RETURN_IF_ERROR(reader_.Take(std::span(room_).first(got.value())));
  }
  if (!reader_.clean()) return Internal("online store " + name_ + ": answered more than it was asked");
  return Status::Ok();
}

Status RedisConnection::ErrorIn(const RedisReplies& replies) const {
  const auto items = replies.items();
  const auto is_error = [](const RedisReplies::Item& item) {
    return item.kind == RedisReplies::Kind::kError;
  };
  const auto found = std::find_if(items.begin(), items.end(), is_error);
  if (found == items.end()) return Status::Ok();
  const std::string_view said = replies.text(*found).substr(0, kMostSaid);
  const auto begins = [said](std::string_view with) { return said.starts_with(with); };
  if (std::any_of(kCluster.begin(), kCluster.end(), begins)) {
    return Unsupported("online store " + name_ +
                       ": is a node of a Redis Cluster, which is not supported: " + std::string(said));
  }
  const auto known =
      std::find_if(kErrors.begin(), kErrors.end(), [&](const Known& error) { return begins(error.begin); });
  return Status(known == kErrors.end() ? Code::kInternal : known->code,
                "online store " + name_ + ": the server says: " + std::string(said));
}

}  // namespace falaj

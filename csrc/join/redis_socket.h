// Bytes to a server and back, by TCP and perhaps TLS, never waiting beyond a deadline.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/file_descriptor.h"
#include "core/mutex.h"
#include "core/status.h"
#include "join/redis_address.h"
#include "join/redis_tls.h"

namespace falaj {

// Fails with DeadlineExceeded where the deadline has passed and with Unavailable where the connection was not
// made or is cut; it is then of no use any more. One thread at a time.
class RedisSocket {
 public:
  // Tries each address, for an equal share of what time is left. `tls`: nullptr for none; outlives the call.
  static Result<std::unique_ptr<RedisSocket>> Connect(RedisAddress& address, SSL_CTX* tls,
                                                      TimePoint deadline);

  Status Send(std::string_view bytes, TimePoint deadline);
  // Waits for a byte and takes what there is; at most `room`. REQUIRES: room is not empty.
  Result<size_t> Receive(std::span<char> room, TimePoint deadline);
  // Whether nothing has come, not even the connection's end. What has come is lost.
  bool Quiet();

 private:
  RedisSocket(FileDescriptor fd, TlsHandle tls, std::string name)
      : fd_(std::move(fd)), tls_(std::move(tls)), name_(std::move(name)) {}
  Status Wait(short events, TimePoint deadline) const;
  Status SendRaw(std::string_view bytes, TimePoint deadline);
  Result<size_t> ReceiveRaw(std::span<char> room, TimePoint deadline);
  Status Handshake(TimePoint deadline);
  Status SendEncrypted(TimePoint deadline);
  Status ReceiveEncrypted(TimePoint deadline);
  Status Cut(const std::string& why) const;

  const FileDescriptor fd_;
  const TlsHandle tls_;     // owns both ends of its memory
  const std::string name_;  // of the server, for errors
};

}  // namespace falaj

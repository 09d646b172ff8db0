// A connection to a Redis or Valkey server: commands out, their replies back.
#pragma once

#include <memory>
#include <vector>

#include "core/mutex.h"
#include "core/status.h"
#include "join/redis_options.h"
#include "join/redis_protocol.h"
#include "join/redis_socket.h"

namespace falaj {

// One thread at a time. Once a call has failed the connection is of no use any more: what is still to come
// could be taken for the answer to another question.
class RedisConnection {
 public:
  // Connects, proves who asks, and selects the database. `tls`: nullptr for none; outlives the call.
  static Result<std::unique_ptr<RedisConnection>> Open(RedisAddress& address, const RedisOptions& options,
                                                       SSL_CTX* tls, TimePoint deadline);

  // To be filled before Ask.
  RedisCommands& commands() { return commands_; }
  // Sends the commands and waits for a reply to each; `replies` is valid until the next Ask. Fails as
  // RedisSocket does, and where a reply is an error: with what it says.
  Status Ask(TimePoint deadline, const RedisReplies*& replies);
  // The two halves of Ask. REQUIRES: Receive follows a Send that did not fail.
  Status Send(TimePoint deadline);
  Status Receive(TimePoint deadline, const RedisReplies*& replies);

  // Whether an Ask has failed for want of an answer, not because of what the answer was.
  bool lost() const { return lost_; }
  bool usable() const { return !failed_; }
  // Whether it answered anything after it was opened.
  bool proven() const { return answers_ > 1; }
  // Whether nothing came that was not asked for. REQUIRES: usable().
  bool Quiet() { return reader_.clean() && socket_->Quiet(); }

 private:
  RedisConnection(std::unique_ptr<RedisSocket> socket, std::string name)
      : socket_(std::move(socket)), name_(std::move(name)), room_(kRoom) {}
  static constexpr size_t kRoom = 64 * 1024;
  Status Gather(TimePoint deadline);
  Status Introduce(const RedisOptions& options, TimePoint deadline);
  Status ErrorIn(const RedisReplies& replies) const;

  const std::unique_ptr<RedisSocket> socket_;
  const std::string name_;  // of the server, for errors
  RedisCommands commands_;
  RedisReader reader_;
  std::vector<char> room_;
  bool failed_ = false;
  bool lost_ = false;
  uint64_t answers_ = 0;
};

}  // namespace falaj

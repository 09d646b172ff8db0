// The bytes of one TCP connection, with TLS or without.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "core/file_descriptor.h"
#include "load/error_counts.h"
#include "load/tls_client.h"

namespace falaj::load {

// Belongs to one thread. Once something failed, `failure` and `problem` say what, and it is of no more use.
class Stream {
 public:
  // `socket` may be on its way to being connected. `tls` is made on it, or is nothing.
  explicit Stream(FileDescriptor socket, TlsHandle tls = nullptr);
  ~Stream() = default;
  Stream(Stream&&) = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int fd() const { return socket_.get(); }
  bool is_open() const { return stage_ == Stage::kOpen; }

  // Goes on with connecting and the handshake; call it on every event until it is open. False: failed.
  bool Establish();

  // How many bytes were moved; 0: the socket has none, or takes none, until its next event; -1: failed. A
  // read that moves less than it has room for leaves nothing behind only where `drains` is true. REQUIRES:
  // is_open(), a span that is not empty
  ssize_t Read(std::span<char> room);
  ssize_t Write(std::string_view bytes);
  bool drains() const { return tls_ == nullptr; }

  ErrorKind failure() const { return failure_; }
  const std::string& problem() const { return problem_; }

 private:
  enum class Stage { kConnecting, kHandshake, kOpen, kFailed };

  bool Shake();
  ssize_t Moved(ssize_t count);
  ssize_t MovedByTls(int count);
  ssize_t Fail(Failure failure, std::string problem);

  FileDescriptor socket_;
  TlsHandle tls_;  // on the socket: ends before it
  Stage stage_ = Stage::kConnecting;
  ErrorKind failure_;
  std::string problem_;
};

}  // namespace falaj::load

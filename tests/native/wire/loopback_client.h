// A client on a real socket of this machine, as clumsy or as rude as a test wants it.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace falaj::wire::test {

class LoopbackClient {
 public:
  static constexpr int kPatienceMs = 20'000;

  explicit LoopbackClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  explicit LoopbackClient(const std::string& unix_path)
      : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, unix_path.data(), unix_path.size());
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  LoopbackClient(LoopbackClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_), ended_(other.ended_) {}
  LoopbackClient& operator=(LoopbackClient&&) = delete;
  ~LoopbackClient() {
    if (fd_ >= 0) close(fd_);
  }

  bool connected() const { return connected_; }
  bool ended() const { return ended_; }  // the server has closed its side

  void Send(std::string_view bytes) const {
    ASSERT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  void HalfClose() const { shutdown(fd_, SHUT_WR); }
  // The connection ends with a reset, not with a farewell.
  void Reset() {
    const linger none{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(std::exchange(fd_, -1));
  }

  // What comes until `end` has come, the server closes, or patience ends.
  std::string ReadUntil(std::string_view end) {
    std::string got;
    while (!ended_ && (end.empty() || got.find(end) == std::string::npos)) {
      pollfd ready{fd_, POLLIN, 0};
      if (poll(&ready, 1, kPatienceMs) <= 0) {
        ADD_FAILURE() << "nothing came for long after: " << got;
        return got;
      }
      char buffer[4096];
      const ssize_t count = recv(fd_, buffer, sizeof(buffer), 0);
      if (count > 0) got.append(buffer, static_cast<size_t>(count));
      ended_ = count <= 0;
    }
    return got;
  }
  std::string ReadAll() { return ReadUntil(""); }

 private:
  int fd_;
  bool connected_ = false;
  bool ended_ = false;
};

}  // namespace falaj::wire::test

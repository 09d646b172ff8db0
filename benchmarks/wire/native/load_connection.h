// One connection of the load generator, whatever it speaks.
#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "sockets.h"

namespace falaj::bench {

using TimePoint = std::chrono::steady_clock::time_point;

inline constexpr const char* kClosed = "the server closed a connection";

enum class LoadProtocol { kHttp, kGrpc };

// A number in a body that is another in each request, drawn evenly from [least, least + count).
struct VariedNumber {
  size_t at = 0;         // bytes before it in the body
  bool as_text = false;  // digits, always as many as `least` has; else an INT64, as this machine has it
  int64_t least = 0;
  uint64_t count = 0;  // 0: nothing varies
};

// Draws the numbers. Belongs to one thread.
class NumberWriter {
 public:
  explicit NumberWriter(const VariedNumber& of) : of_(of), random_(std::random_device{}()) {}
  // Writes the next one into a request whose body begins at `body`.
  void Write(std::string& request, size_t body) {
    if (of_.count == 0) return;
    const int64_t drawn = of_.least + static_cast<int64_t>(random_() % of_.count);
    char* const to = request.data() + body + of_.at;
    if (of_.as_text) {
      std::to_chars(to, request.data() + request.size(), drawn);
    } else {
      std::memcpy(to, &drawn, sizeof(drawn));
    }
  }

 private:
  const VariedNumber of_;
  std::mt19937_64 random_;
};

// What is asked, the same each time but for one number.
struct LoadTarget {
  LoadProtocol protocol = LoadProtocol::kHttp;
  std::string host;
  uint16_t port = 0;
  std::string path;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // of HTTP, or the gRPC message
  VariedNumber varied;
  size_t streams = 1;  // requests under way at a time on a connection; HTTP: 1
};

// One answer that came whole. `problem` is null where its status is good.
struct Answer {
  TimePoint since;  // as it was given to Send
  size_t bytes = 0;
  const char* problem = nullptr;
};

class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  virtual void OnAnswer(const Answer& answer) = 0;
};

// Belongs to one thread, as its sink does. The target outlives it.
class LoadConnection {
 public:
  virtual ~LoadConnection() = default;
  virtual int fd() const = 0;
  virtual size_t under_way() const = 0;
  virtual bool HasRoom() const = 0;
  // Asks once more. Nothing is written before Flush. REQUIRES: HasRoom()
  virtual void Send(TimePoint since) = 0;
  // Both return false where the connection is of no more use, and problem() says why.
  virtual bool Flush() = 0;
  virtual bool OnEvents(uint32_t events) = 0;
  virtual const char* problem() const = 0;
};

std::unique_ptr<LoadConnection> MakeHttpConnection(FileDescriptor socket, const LoadTarget& target,
                                                   AnswerSink& sink);
std::unique_ptr<LoadConnection> MakeGrpcConnection(FileDescriptor socket, const LoadTarget& target,
                                                   AnswerSink& sink);

}  // namespace falaj::bench

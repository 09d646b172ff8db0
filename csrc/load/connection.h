// One connection of the load generator, whatever it speaks.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/mutex.h"
#include "load/error_counts.h"
#include "load/request_source.h"
#include "load/stream.h"

namespace falaj::load {

// What became of one request. The texts hold until OnAnswer returns.
struct Answer {
  TimePoint since;  // as it was given to Send
  int status = 0;   // of HTTP, or of gRPC
  size_t bytes = 0;
  std::optional<ErrorKind> failure = {};  // none: its status is good
  std::string_view text = {};             // what failed, in our words
  std::string_view body = {};             // what was kept of it; of gRPC's failures the server's message
  size_t sequence = 0;                    // the index of the mark that it was asked with
};

class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  virtual void OnAnswer(const Answer& answer) = 0;
};

// Belongs to one thread, as its sink does. Each request that was sent is told to the sink, or is `under_way`
// when the connection ends.
class Connection {
 public:
  // Why a connection is of no more use. Without a failure: it ended as agreed, and nothing that is under way
  // went wrong but by its end.
  struct End {
    std::optional<ErrorKind> failure;
    std::string text;
  };

  virtual ~Connection() = default;
  virtual int fd() const = 0;
  virtual bool is_open() const = 0;
  virtual size_t under_way() const = 0;
  // Whether it is open and has a place for one more request.
  virtual bool HasRoom() const = 0;
  // Asks once more. Nothing is written before Flush. REQUIRES: HasRoom()
  virtual void Send(TimePoint since, TimePoint now, const Mark& mark) = 0;
  // These return false where the connection is of no more use, and end() says why.
  virtual bool Flush() = 0;
  virtual bool OnEvents(uint32_t events) = 0;
  // Gives up the requests that were sent before.
  virtual bool Expire(TimePoint sent_before) = 0;
  virtual const End& end() const = 0;
  // Adds the indices of the marks of what is under way and was not told of.
  virtual void AddUnderWay(std::vector<size_t>& indices) const = 0;
};

// `streams` requests at a time on the connection; 1 with HTTP. `first` is the first request that it asks.
std::unique_ptr<Connection> MakeHttpConnection(Stream stream, RequestSource requests, AnswerSink& sink);
std::unique_ptr<Connection> MakeGrpcConnection(Stream stream, RequestSource requests, size_t streams,
                                               AnswerSink& sink);

}  // namespace falaj::load

// The answers of an HTTP/1.1 connection, as far as a load generator needs to know them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace falaj::bench {

// Takes one answer as it comes, in any pieces. Keeps no byte of the body.
class HttpResponse {
 public:
  enum class State { kHead, kBody, kComplete, kMalformed };

  // Returns how many bytes belong to the answer: fewer than given only where it is complete or malformed.
  size_t Take(std::string_view bytes);
  State state() const { return state_; }
  // REQUIRES: the head was taken
  int status() const { return status_; }
  size_t body_bytes() const { return body_bytes_; }
  // What is wrong. REQUIRES: kMalformed
  const char* problem() const { return problem_; }
  // Makes ready for the next answer.
  void Clear();

 private:
  void ParseHead(std::string_view head);
  void Malformed(const char* problem);

  State state_ = State::kHead;
  std::string head_;  // that came in pieces
  int status_ = 0;
  size_t body_bytes_ = 0;
  size_t missing_ = 0;  // of the body
  const char* problem_ = "";
};

}  // namespace falaj::bench

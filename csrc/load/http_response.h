// The answers of an HTTP/1.1 connection, as far as a load generator needs to know them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace falaj::load {

// Takes one answer as it comes, in any pieces. Its memory is bounded by `keep` and the longest head.
class HttpResponse {
 public:
  enum class State { kHead, kData, kChunkSize, kChunkData, kChunkEnd, kTrailers, kComplete, kMalformed };

  // `keep` bytes of the body are kept, and of an error's at least as many as its text needs.
  explicit HttpResponse(size_t keep = 0) : keep_(keep) {}

  // Returns how many bytes belong to the answer: fewer than given only where it is complete or malformed.
  size_t Take(std::string_view bytes);
  State state() const { return state_; }
  // REQUIRES: the head was taken
  int status() const { return status_; }
  // Whether the server said that it ends the connection behind this answer.
  bool closes() const { return closes_; }
  size_t body_bytes() const { return body_bytes_; }
  // What was kept of the body.
  std::string_view body() const { return body_; }
  // What is wrong. REQUIRES: kMalformed
  const char* problem() const { return problem_; }
  // Makes ready for the next answer.
  void Clear();

 private:
  void TakeHead(std::string_view& bytes);
  void TakeData(std::string_view& bytes);
  void TakeLine(std::string_view& bytes);
  void ParseHead(std::string_view head);
  void ParseField(std::string_view line);
  void BeginBody();
  void ParseChunkSize(std::string_view line);
  void Keep(std::string_view data);
  void Malformed(const char* problem);

  const size_t keep_;
  State state_ = State::kHead;
  std::string head_;  // that came in pieces; the beginning of a line between chunks
  std::string body_;
  int status_ = 0;
  bool closes_ = false;
  bool has_length_ = false;
  bool is_chunked_ = false;
  bool bad_field_ = false;
  size_t body_bytes_ = 0;
  size_t missing_ = 0;  // of the body, or of the chunk
  size_t trailer_bytes_ = 0;
  const char* problem_ = "";
};

}  // namespace falaj::load

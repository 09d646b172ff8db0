// What RFC 9113, section 8, asks of a request's fields.
#pragma once

#include <cstdint>
#include <string_view>

namespace falaj::wire {

// Fed in the order in which things come; after the first false the request is malformed, and nothing more is
// asked. A value, which may be copied. Not thread-safe.
class Http2FieldRules {
 public:
  // A field of the head. 8.2.1: names and values of the allowed characters; 8.2.2: no fields of connections;
  // 8.3: pseudo-fields first, once each, of requests'.
  bool Add(std::string_view name, std::string_view value);
  // 8.3.1: the pseudo-fields that a request must have.
  bool EndHead() const;
  // A field behind the body: 8.1 allows no pseudo-fields there.
  static bool AddTrailer(std::string_view name, std::string_view value);
  // 8.1.1: the body is as long as was said, if that was.
  bool AddBody(size_t bytes);
  bool EndBody() const { return content_length_ < 0 || body_ == content_length_; }

 private:
  bool AddPseudo(std::string_view name, std::string_view value);
  bool AddLength(std::string_view digits);

  uint8_t seen_ = 0;  // pseudo-fields, a bit for each
  bool regular_ = false;
  bool connects_ = false;  // the method CONNECT, which names neither scheme nor path
  int64_t content_length_ = -1;
  int64_t body_ = 0;
};

}  // namespace falaj::wire

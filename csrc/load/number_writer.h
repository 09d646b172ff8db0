// A number in a request that is another each time, for servers that would answer equal requests from memory.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

namespace falaj::load {

// Drawn evenly from [least, least + count).
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

}  // namespace falaj::load

// Where in a request something stands: "inputs[1].parameters.binary_data_size", written out only for an
// error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace falaj::wire {

// Made for every value that is read, so it is a link and no copy: it views the path that it was made of,
// which lives as long as it does, and the name.
struct JsonPath {
  explicit constexpr JsonPath(std::string_view root) : name(root) {}

  JsonPath At(size_t i) const { return {this, {}, static_cast<int64_t>(i)}; }
  JsonPath Key(std::string_view key) const { return {this, key, -1}; }

  std::string Text() const {
    if (parent == nullptr) return std::string(name);
    std::string text = parent->Text();
    if (index < 0) return text.append(".").append(name);
    return text.append("[").append(std::to_string(index)).append("]");
  }

  const JsonPath* parent = nullptr;
  std::string_view name;
  int64_t index = -1;

 private:
  JsonPath(const JsonPath* of, std::string_view key, int64_t i) : parent(of), name(key), index(i) {}
};

inline std::string operator+(const JsonPath& path, std::string_view rest) { return path.Text().append(rest); }

}  // namespace falaj::wire

// Where in a request something stands: "inputs[1].parameters.binary_data_size", written out only for an
// error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace falaj::wire {

// Views what it is made of, so it lives no longer.
struct JsonPath {
  explicit constexpr JsonPath(std::string_view name) : root(name) {}

  std::string_view root;
  int64_t index = -1;
  std::string_view key{};
  std::string_view inner_key{};
  int64_t inner_index = -1;

  JsonPath At(size_t i) const {
    JsonPath path = *this;
    (key.empty() ? path.index : path.inner_index) = static_cast<int64_t>(i);
    return path;
  }
  JsonPath Key(std::string_view name) const {
    JsonPath path = *this;
    (key.empty() ? path.key : path.inner_key) = name;
    return path;
  }
  std::string Text() const {
    std::string text(root);
    if (index >= 0) text.append("[").append(std::to_string(index)).append("]");
    for (const std::string_view name : {key, inner_key}) {
      if (!name.empty()) text.append(".").append(name);
    }
    if (inner_index >= 0) text.append("[").append(std::to_string(inner_index)).append("]");
    return text;
  }
};

inline std::string operator+(const JsonPath& path, std::string_view rest) { return path.Text().append(rest); }

}  // namespace falaj::wire

#include "arguments.h"

#include <algorithm>
#include <charconv>

#include "fatal.h"

namespace falaj::bench {
namespace {

template <typename T>
T Parse(const std::string& name, const std::string& text, T least) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stopped != end || !(value >= least)) {
    Fatal("--" + name + ": expected a number of at least " + std::to_string(least) + ", got '" + text + "'");
  }
  return value;
}

}  // namespace

Arguments::Arguments(int argc, char** argv, std::initializer_list<const char*> known) {
  for (int i = 1; i < argc; i += 2) {
    const std::string given = argv[i];
    const auto matches = [&](const char* name) { return given == std::string("--") + name; };
    if (std::none_of(known.begin(), known.end(), matches)) {
      std::string names;
      for (const char* name : known) names += std::string(" --") + name;
      Fatal(given + ": expected one of" + names);
    }
    if (i + 1 == argc) Fatal(given + ": expected a value after it");
    values_.emplace_back(given.substr(2), argv[i + 1]);
  }
}

std::string Arguments::Text(const std::string& name, const std::string& otherwise) const {
  const std::vector<std::string> all = All(name);
  return all.empty() ? otherwise : all.back();
}

double Arguments::Number(const std::string& name, double otherwise, double least) const {
  const std::vector<std::string> all = All(name);
  return all.empty() ? otherwise : Parse(name, all.back(), least);
}

int64_t Arguments::Integer(const std::string& name, int64_t otherwise, int64_t least) const {
  const std::vector<std::string> all = All(name);
  return all.empty() ? otherwise : Parse(name, all.back(), least);
}

std::vector<std::string> Arguments::All(const std::string& name) const {
  std::vector<std::string> all;
  for (const auto& [key, value] : values_) {
    if (key == name) all.push_back(value);
  }
  return all;
}

}  // namespace falaj::bench

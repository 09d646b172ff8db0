// The command line of these programs: `--name value` pairs.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace falaj::bench {

class Arguments {
 public:
  // Ends the program where a name is not `known` or has no value.
  Arguments(int argc, char** argv, std::initializer_list<const char*> known);

  // The last value of `name`. The numbers end the program where the text is not one, or is less than `least`.
  std::string Text(const std::string& name, const std::string& otherwise) const;
  double Number(const std::string& name, double otherwise, double least) const;
  int64_t Integer(const std::string& name, int64_t otherwise, int64_t least) const;
  // Every value of `name`, in order.
  std::vector<std::string> All(const std::string& name) const;

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

}  // namespace falaj::bench

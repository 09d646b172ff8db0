// What one request says of the features that its model looks up by itself.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace falaj {

// Written by the submitter before the request is enqueued.
struct RequestFeatures {
  std::string id;             // the request's, for the log of what was served; "": none
  std::vector<size_t> given;  // public inputs that may be left out, and were not: in place of the store's
  bool wanted = false;        // the outputs that are made for those who ask for them

  // Keeps the memory.
  void Clear() {
    id.clear();
    given.clear();
    wanted = false;
  }
};

}  // namespace falaj

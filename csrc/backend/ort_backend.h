// Runs ONNX models by ONNX Runtime's C API.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/ort_library.h"

namespace falaj {

struct OrtOptions {
  struct Provider {
    std::string name;  // "CUDAExecutionProvider"
    std::vector<std::pair<std::string, std::string>> options;
  };
  int intra_op_threads = 1;         // threads of one run, the caller's included
  std::vector<Provider> providers;  // in order of preference; the CPU always comes last
  std::vector<std::pair<std::string, std::string>> session;  // config entries, passed through
  std::string optimization = "all";                          // disable | basic | extended | all
  std::string custom_operators;  // path of a shared library that has some; empty: none
};

// Loads the model at `path`. Where a preferred provider fails to start, the next one is used, and `fallbacks`
// gets a sentence that says which and why. Fails with InvalidInput where the model cannot be read or has a
// tensor of a type the protocol has no name for, and Unsupported where ONNX Runtime lacks an operator.
Result<std::unique_ptr<Backend>> LoadOrtBackend(const OrtLibrary* library, const std::string& path,
                                                const OrtOptions& options,
                                                std::vector<std::string>* fallbacks);

}  // namespace falaj

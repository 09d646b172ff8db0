// Operators of a shared library beside ONNX Runtime's own, such as onnxruntime-extensions brings: tokenisers,
// decoders of images. They read bytes that come from the network, by code that was written for programs
// of one user. What is made of that here, decision 37 tells.
#pragma once

#include <string>

#include "backend/ort_library.h"
#include "backend/ort_types.h"

namespace falaj {

// Makes the library at `path` known to a session that is to be made of `options`, and keeps what the session
// allocates inside a bound that all such sessions share. Thread-safe. Fails with Unsupported where the
// library cannot be opened, has no operators, or wants another ONNX Runtime.
Status AddCustomOperators(const OrtLibrary* library, const std::string& path, OrtSessionOptions* options);

// Those of a run of such a session: what it allocated is given back when it ends. ONNX Runtime would keep it
// in pieces of the sizes that were asked for, until images of a few sizes had used up the bound for all
// others.
Result<OrtRunOptionsPtr> CustomOperatorsRunOptions(const OrtApi& api);

// While one lives, the custom operators on this thread neither end the process nor write to standard error.
// Decoders do the first of data that they cannot read (libjpeg's default), the second of data that is cut
// short. Elsewhere both stay as they are.
class CustomOperatorsRun {
 public:
  CustomOperatorsRun();
  ~CustomOperatorsRun();
  CustomOperatorsRun(const CustomOperatorsRun&) = delete;
  CustomOperatorsRun& operator=(const CustomOperatorsRun&) = delete;

  // What a run that ended with `status` means. InvalidInput where an operator wanted to end the process, in
  // its own words, or took data that ended too early for whole; and where a node failed, because what nodes
  // are given here comes from bytes that no signature describes. Unavailable where other runs have the
  // memory.
  Status Judge(Status status) const;
};

}  // namespace falaj

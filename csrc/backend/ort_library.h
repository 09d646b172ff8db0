// ONNX Runtime, opened at run time from the installed onnxruntime or onnxruntime-gpu package: never linked,
// so that one Falaj works with either and with whatever version the user keeps.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/status.h"

struct OrtApi;
struct OrtEnv;

namespace falaj {

// The opened library and its one environment. Immutable after Open; thread-safe. Lives until the process
// ends: ONNX Runtime does not support being unloaded.
class OrtLibrary {
 public:
  // `path` is the shared library (capi/libonnxruntime.so.* of the package). The first call in a process opens
  // it, with telemetry off; later ones give the same object. Fails with Unsupported, naming the remedy, where
  // the library is missing, is none, or is too old.
  static Result<const OrtLibrary*> Open(const std::string& path);

  const OrtApi& api() const { return *api_; }
  OrtEnv* env() const { return env_; }
  const std::string& version() const { return version_; }
  std::vector<std::string> Providers() const;

  // What ONNX Runtime logged as errors on this thread since the last call. Some causes (why a provider's
  // library did not open) are told nowhere else; nothing is written to stderr, which clients could flood.
  static std::string TakeLog();

 private:
  OrtLibrary() = default;
  static Result<const OrtLibrary*> OpenOnce(const std::string& path);

  const OrtApi* api_ = nullptr;
  OrtEnv* env_ = nullptr;
  std::string version_;
};

}  // namespace falaj

#include "backend/ort_library.h"

#include <dlfcn.h>
#include <onnxruntime_c_api.h>

#include <cstdlib>
#include <utility>

#include "core/mutex.h"

namespace falaj {
namespace {

// The oldest API with all that is called here. A constant, not ORT_API_VERSION: newer headers on an older
// library would be given no API at all.
constexpr uint32_t kApiVersion = 23;
constexpr const char* kRemedy =
    "install a newer one: pip install 'falaj[cpu]' (onnxruntime) or 'falaj[gpu]' (onnxruntime-gpu)";

constexpr size_t kMaxLogBytes = 2048;

std::string& ThreadLog() {
  thread_local std::string log;
  return log;
}

void ORT_API_CALL Log(void*, OrtLoggingLevel severity, const char*, const char*, const char*,
                      const char* message) {
  std::string& log = ThreadLog();
  if (severity < ORT_LOGGING_LEVEL_ERROR || log.size() > kMaxLogBytes) return;
  log += message;
  log += "; ";
}

}  // namespace

std::string OrtLibrary::TakeLog() { return std::exchange(ThreadLog(), {}); }

Result<const OrtLibrary*> OrtLibrary::Open(const std::string& path) {
  static Mutex mu;
  static const OrtLibrary* opened = nullptr;
  MutexLock lock(mu);
  if (opened != nullptr) return opened;
  auto library = OpenOnce(path);
  if (library.ok()) opened = library.value();
  return library;
}

Result<const OrtLibrary*> OrtLibrary::OpenOnce(const std::string& path) {
  // The official builds report usage to their maker unless this is set before they are loaded; the API call
  // comes too late. A value that the user set stands.
  setenv("ORT_DISABLE_TELEMETRY", "1", /*overwrite=*/0);
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return Unsupported("ONNX Runtime could not be opened (" + std::string(dlerror()) + "); " + kRemedy);
  }
  using GetBase = const OrtApiBase* (*)();
  const auto get_base = reinterpret_cast<GetBase>(dlsym(handle, "OrtGetApiBase"));
  if (get_base == nullptr) {
    return Unsupported("'" + path + "' is not ONNX Runtime: it has no OrtGetApiBase; " + kRemedy);
  }
  const OrtApiBase* base = get_base();
  const OrtApi* api = base->GetApi(kApiVersion);
  if (api == nullptr) {
    return Unsupported("ONNX Runtime " + std::string(base->GetVersionString()) +
                       " is too old: expected 1.23 or newer; " + kRemedy);
  }
  std::unique_ptr<OrtLibrary> library(new OrtLibrary());
  library->api_ = api;
  library->version_ = base->GetVersionString();
  if (OrtStatus* failed =
          api->CreateEnvWithCustomLogger(Log, nullptr, ORT_LOGGING_LEVEL_ERROR, "falaj", &library->env_)) {
    const std::string message = api->GetErrorMessage(failed);
    api->ReleaseStatus(failed);
    return Internal("ONNX Runtime could not be started: " + message);
  }
  if (OrtStatus* failed = api->DisableTelemetryEvents(library->env_)) api->ReleaseStatus(failed);
  return library.release();  // lives until the process ends
}

std::vector<std::string> OrtLibrary::Providers() const {
  std::vector<std::string> names;
  char** list = nullptr;
  int count = 0;
  if (OrtStatus* failed = api_->GetAvailableProviders(&list, &count)) {
    api_->ReleaseStatus(failed);
    return names;
  }
  names.assign(list, list + count);
  if (OrtStatus* failed = api_->ReleaseAvailableProviders(list, count)) api_->ReleaseStatus(failed);
  return names;
}

}  // namespace falaj

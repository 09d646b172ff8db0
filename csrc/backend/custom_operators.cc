#include "backend/custom_operators.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "backend/image_bytes.h"
#include "backend/import_table.h"
#include "core/mutex.h"

namespace falaj {
namespace {

// What all sessions with custom operators may allocate for tensors, weights apart: the head of an image of
// a hundred bytes can ask for gigabytes.
constexpr size_t kMaxTensorBytes = size_t{2} << 30;
// What an operator may take for itself in one piece. libjpeg holds the coefficients of a progressive image,
// one piece for each colour, and touches them all before it knows whether the image is there.
constexpr size_t kMaxPieceBytes = size_t{512} << 20;
constexpr size_t kMaxSaidBytes = 512;

struct Said {
  int runs = 0;        // CustomOperatorsRun that live on this thread
  bool ended = false;  // whether an operator wanted to end the process in the outermost of them
  std::string text;    // what it wrote to standard error meanwhile
};

Said& OfThread() {
  thread_local Said said;
  return said;
}

// In place of exit(). The library's frames are unwound and ONNX Runtime turns the exception into a status, as
// it does with those that operators throw on their own.
[[noreturn]] void Exit(int status) {
  Said& said = OfThread();
  if (said.runs == 0) std::exit(status);
  said.ended = true;
  throw std::runtime_error("it would have ended the process");
}

bool IsKept(FILE* stream) { return stream == stderr && OfThread().runs > 0; }

void Keep(std::string_view text) {
  std::string& kept = OfThread().text;
  if (kept.size() < kMaxSaidBytes) kept += text;
}

// In place of fprintf().
__attribute__((format(printf, 2, 3))) int PrintTo(FILE* stream, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  int written = 0;
  if (IsKept(stream)) {
    char line[256];
    written = std::vsnprintf(line, sizeof(line), format, arguments);
    Keep(line);
  } else {
    written = std::vfprintf(stream, format, arguments);
  }
  va_end(arguments);
  return written;
}

// In place of fputc().
int PutTo(int character, FILE* stream) {
  if (!IsKept(stream)) return std::fputc(character, stream);
  const char one = static_cast<char>(character);
  Keep({&one, 1});
  return character;
}

// In place of fwrite().
size_t WriteTo(const void* data, size_t size, size_t count, FILE* stream) {
  if (!IsKept(stream)) return std::fwrite(data, size, count, stream);
  Keep({static_cast<const char*>(data), size * count});
  return count;
}

// In place of malloc(). The decoders take null for an answer.
void* Malloc(size_t bytes) {
  return OfThread().runs > 0 && bytes > kMaxPieceBytes ? nullptr : std::malloc(bytes);
}

size_t TensorBytesBound() {
  const auto pages = static_cast<size_t>(sysconf(_SC_PHYS_PAGES));
  return std::min(kMaxTensorBytes, pages * static_cast<size_t>(sysconf(_SC_PAGESIZE)) / 4);
}

// libjpeg fills what is missing with grey and goes on (JWRN_JPEG_EOF, JWRN_HIT_MARKER).
bool TellsOfAnEarlyEnd(const std::string& text) {
  return text.find("premature end") != std::string::npos || text.find("Premature end") != std::string::npos;
}

std::string OneLine(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// What the library is given in place of ONNX Runtime's own functions, so that each operator that it adds is
// seen. One for the process, as OrtLibrary is. Written by the first calls of Contain and Register, each under
// its lock, before any session with the operators is there.
struct Hooks {
  const OrtApi* real = nullptr;
  std::string version;  // the library asks for the interface of the version that it is told
  OrtApi given;
  OrtApiBase base;
  OrtStatus*(ORT_API_CALL* decode)(void*, OrtKernelContext*) = nullptr;  // the library's own
};

Hooks& TheHooks() {
  static Hooks hooks;
  return hooks;
}

// DecodeImage of bytes that end too early would run forever: it asks libjpeg for the next line again and
// again.
OrtStatus* ORT_API_CALL DecodeWholeImages(void* kernel, OrtKernelContext* context) {
  const Hooks& hooks = TheHooks();
  const OrtApi& api = *hooks.real;
  const OrtValue* image = nullptr;
  if (OrtStatus* failed = api.KernelContext_GetInput(context, 0, &image)) return failed;
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  if (OrtStatus* failed = api.GetTensorTypeAndShape(image, &raw)) return failed;
  const OrtTensorInfoPtr info = Own<OrtTensorInfoPtr>(api, raw);
  size_t size = 0;
  if (OrtStatus* failed = api.GetTensorShapeElementCount(raw, &size)) return failed;
  const void* bytes = nullptr;
  if (OrtStatus* failed = api.GetTensorData(image, &bytes)) return failed;
  const Status whole = CheckImageIsWhole({static_cast<const uint8_t*>(bytes), size});
  if (!whole.ok()) return api.CreateStatus(ORT_INVALID_ARGUMENT, whole.message().c_str());
  return hooks.decode(kernel, context);
}

OrtStatus* ORT_API_CALL AddOperator(OrtCustomOpDomain* domain, const OrtCustomOp* custom) noexcept {
  Hooks& hooks = TheHooks();
  const bool safe_errors = custom->version >= 16 && custom->KernelComputeV2 != nullptr;
  if (std::strcmp(custom->GetName(custom), "DecodeImage") == 0) {
    if (!safe_errors) return hooks.real->CreateStatus(ORT_NOT_IMPLEMENTED, "its DecodeImage is too old");
    if (custom->KernelComputeV2 != &DecodeWholeImages) {
      hooks.decode = custom->KernelComputeV2;
      // The library's object is no constant: it has filled in these very pointers itself.
      const_cast<OrtCustomOp*>(custom)->KernelComputeV2 = &DecodeWholeImages;
    }
  }
  return hooks.real->CustomOpDomain_Add(domain, custom);
}

// Newer interfaces than ours are larger: the library is told that there is none.
const OrtApi* ORT_API_CALL GiveApi(uint32_t version) noexcept {
  return version <= ORT_API_VERSION ? &TheHooks().given : nullptr;
}

const char* ORT_API_CALL GiveVersion() noexcept { return TheHooks().version.c_str(); }

using AddTo = OrtStatus*(ORT_API_CALL*)(OrtSessionOptions*, const OrtApiBase*);

struct Opened {
  Status status;
  AddTo add = nullptr;
};

// The library's function that adds its operators to a session. Opens it at the first call, for good: sessions
// hold its operators.
Opened Contain(const OrtApi& api, const std::string& path) {
  static Mutex mu;
  static std::map<std::string, Opened> contained;
  MutexLock lock(mu);
  if (const auto known = contained.find(path); known != contained.end()) return known->second;
  Hooks& hooks = TheHooks();
  if (hooks.real == nullptr) {
    hooks.real = &api;
    hooks.version = "1." + std::to_string(ORT_API_VERSION) + ".0";
    hooks.given = api;
    hooks.given.CustomOpDomain_Add = &AddOperator;
    hooks.base = {&GiveApi, &GiveVersion};
  }
  Opened opened;
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    opened.status =
        Unsupported("the library of custom operators could not be opened: " + std::string(dlerror()));
    return opened;
  }
  opened.add = reinterpret_cast<AddTo>(dlsym(handle, "RegisterCustomOps"));
  if (opened.add == nullptr) opened.status = Unsupported("'" + path + "' has no custom operators");
  for (const auto& [name, replacement] : {std::pair{"exit", reinterpret_cast<void*>(&Exit)},
                                          std::pair{"fputc", reinterpret_cast<void*>(&PutTo)},
                                          std::pair{"fwrite", reinterpret_cast<void*>(&WriteTo)},
                                          std::pair{"fprintf", reinterpret_cast<void*>(&PrintTo)},
                                          std::pair{"malloc", reinterpret_cast<void*>(&Malloc)}}) {
    auto replaced = ReplaceImport(handle, name, replacement);
    if (!replaced.ok() && opened.status.ok()) opened.status = replaced.status();
  }
  contained.emplace(path, opened);
  return opened;
}

// The library throws where it finds no interface of ONNX Runtime that it knows. One session at a time: the
// first writes to the library's operators, and to the hooks, what runs read later.
Status Register(const OrtApi& api, AddTo add, OrtSessionOptions* options) {
  static Mutex mu;
  MutexLock lock(mu);
  try {
    return FromOrt(api, add(options, &TheHooks().base));
  } catch (const std::exception& error) {
    return Internal(error.what());
  }
}

// One arena of the environment for all such sessions: ONNX Runtime bounds no session's own.
Status ShareBoundedArena(const OrtLibrary* library) {
  static Mutex mu;
  static bool made = false;
  MutexLock lock(mu);
  if (made) return Status::Ok();
  const OrtApi& api = library->api();
  constexpr int kAsRequested = 1;  // grow by what is asked for, not to the next power of two
  constexpr int kDefault = -1;
  OrtMemoryInfo* info = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(api, api.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &info));
  const OrtMemoryInfoPtr owned = Own<OrtMemoryInfoPtr>(api, info);
  OrtArenaCfg* arena = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(api,
                            api.CreateArenaCfg(TensorBytesBound(), kAsRequested, kDefault, kDefault, &arena));
  const Status status = FromOrt(api, api.CreateAndRegisterAllocator(library->env(), info, arena));
  api.ReleaseArenaCfg(arena);
  made = status.ok();
  return status;
}

}  // namespace

Status AddCustomOperators(const OrtLibrary* library, const std::string& path, OrtSessionOptions* options) {
  const Opened opened = Contain(library->api(), path);
  FALAJ_RETURN_IF_ERROR(opened.status);
  FALAJ_RETURN_IF_ERROR(ShareBoundedArena(library));
  const OrtApi& api = library->api();
  FALAJ_RETURN_IF_ORT_ERROR(api, api.AddSessionConfigEntry(options, "session.use_env_allocators", "1"));
  // Weights are bounded by their file.
  FALAJ_RETURN_IF_ORT_ERROR(
      api, api.AddSessionConfigEntry(options, "session.use_device_allocator_for_initializers", "1"));
  const Status status = Register(api, opened.add, options);
  if (status.ok()) return status;
  return Unsupported("the library of custom operators '" + path + "' does not fit: " + status.message());
}

Result<OrtRunOptionsPtr> CustomOperatorsRunOptions(const OrtApi& api) {
  OrtRunOptions* raw = nullptr;
  FALAJ_RETURN_IF_ORT_ERROR(api, api.CreateRunOptions(&raw));
  OrtRunOptionsPtr options = Own<OrtRunOptionsPtr>(api, raw);
  FALAJ_RETURN_IF_ORT_ERROR(api, api.AddRunConfigEntry(raw, "memory.enable_memory_arena_shrinkage", "cpu:0"));
  return options;
}

CustomOperatorsRun::CustomOperatorsRun() {
  Said& said = OfThread();
  if (said.runs++ > 0) return;
  said.ended = false;
  said.text.clear();
}

CustomOperatorsRun::~CustomOperatorsRun() { --OfThread().runs; }

Status CustomOperatorsRun::Judge(Status status) const {
  const Said& said = OfThread();
  if (said.ended || (status.ok() && TellsOfAnEarlyEnd(said.text))) {
    return InvalidInput("a custom operator of the model cannot read its input: " + OneLine(said.text));
  }
  if (status.code() != Code::kInternal) return status;
  // The text of ONNX Runtime's arena, which has no code of its own.
  constexpr std::string_view kAsked = " is smaller than requested bytes of ";
  const size_t at = status.message().find(kAsked);
  if (at == std::string::npos) return InvalidInput(status.message());
  const size_t asked = std::strtoull(status.message().c_str() + at + kAsked.size(), nullptr, 10);
  const size_t bound = TensorBytesBound();
  if (asked <= bound) return Unavailable("memory for models with custom operators: " + status.message());
  return InvalidInput("the input makes a tensor of " + std::to_string(asked) + " bytes, expected at most " +
                      std::to_string(bound));
}

}  // namespace falaj

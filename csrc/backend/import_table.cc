#include "backend/import_table.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <span>
#include <string>

namespace falaj {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kSlots[] = {R_X86_64_JUMP_SLOT, R_X86_64_GLOB_DAT};
#elif defined(__aarch64__)
constexpr uint32_t kSlots[] = {R_AARCH64_JUMP_SLOT, R_AARCH64_GLOB_DAT};
#else
#error "say which relocations hold the addresses of imported functions"
#endif

using Relocations = std::span<const Elf64_Rela>;

// What the dynamic section of a library says, as far as it is needed here.
struct Dynamic {
  const Elf64_Sym* symbols = nullptr;
  const char* names = nullptr;
  Relocations calls;  // of the procedure linkage table
  Relocations data;   // the others, among them addresses of functions
};

Dynamic ReadDynamic(const link_map* map) {
  Dynamic found;
  const Elf64_Rela* calls = nullptr;
  const Elf64_Rela* data = nullptr;
  size_t call_bytes = 0;
  size_t data_bytes = 0;
  for (const Elf64_Dyn* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
    // The loader has made these absolute.
    const auto address = static_cast<uintptr_t>(entry->d_un.d_ptr);
    if (entry->d_tag == DT_SYMTAB) found.symbols = reinterpret_cast<const Elf64_Sym*>(address);
    if (entry->d_tag == DT_STRTAB) found.names = reinterpret_cast<const char*>(address);
    if (entry->d_tag == DT_JMPREL) calls = reinterpret_cast<const Elf64_Rela*>(address);
    if (entry->d_tag == DT_RELA) data = reinterpret_cast<const Elf64_Rela*>(address);
    if (entry->d_tag == DT_PLTRELSZ) call_bytes = entry->d_un.d_val;
    if (entry->d_tag == DT_RELASZ) data_bytes = entry->d_un.d_val;
  }
  if (calls != nullptr) found.calls = {calls, call_bytes / sizeof(Elf64_Rela)};
  if (data != nullptr) found.data = {data, data_bytes / sizeof(Elf64_Rela)};
  return found;
}

bool IsSlot(uint32_t type) {
  for (const uint32_t slot : kSlots) {
    if (type == slot) return true;
  }
  return false;
}

// The loader may have made the page read-only (RELRO). It is left writable: which of its neighbours were is
// not known here, and a page that the library still writes must not become read-only.
Status Write(void** slot, void* value) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto* const first = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(slot) & ~(page - 1));
  if (mprotect(first, page, PROT_READ | PROT_WRITE) != 0) {
    return Internal("a table of imported functions cannot be written: " + std::string(std::strerror(errno)));
  }
  __atomic_store_n(slot, value, __ATOMIC_RELEASE);
  return Status::Ok();
}

}  // namespace

Result<bool> ReplaceImport(void* handle, const char* name, void* replacement) {
  const link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
    return Internal("a library's tables cannot be found: " + std::string(dlerror()));
  }
  const Dynamic dynamic = ReadDynamic(map);
  bool found = false;
  for (const Relocations& table : {dynamic.calls, dynamic.data}) {
    for (const Elf64_Rela& entry : table) {
      if (!IsSlot(static_cast<uint32_t>(ELF64_R_TYPE(entry.r_info)))) continue;
      const Elf64_Sym& symbol = dynamic.symbols[ELF64_R_SYM(entry.r_info)];
      if (std::strcmp(dynamic.names + symbol.st_name, name) != 0) continue;
      FALAJ_RETURN_IF_ERROR(Write(reinterpret_cast<void**>(map->l_addr + entry.r_offset), replacement));
      found = true;
    }
  }
  return found;
}

}  // namespace falaj

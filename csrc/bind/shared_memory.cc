#include "bind/shared_memory.h"

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bind/errors.h"
#include "bind/gil.h"
#include "wire/shared_memory.h"

namespace falaj {
namespace {

std::shared_ptr<wire::SharedMemory> Make(std::vector<std::string> prefixes, std::vector<uid_t> owners,
                                         size_t max_regions, uint64_t max_bytes, uint64_t max_copied_bytes,
                                         bool copies) {
  wire::SharedMemoryRules rules;
  rules.prefixes = std::move(prefixes);
  rules.owners = std::move(owners);
  rules.max_regions = max_regions;
  rules.max_bytes = max_bytes;
  rules.max_copied_bytes = max_copied_bytes;
  rules.copies = copies;
  return std::make_shared<wire::SharedMemory>(std::move(rules));
}

void Register(wire::SharedMemory& memory, std::string name, std::string key, uint64_t offset,
              uint64_t byte_size) {
  Status status;
  {
    const GilRelease release;
    status = memory.Register(std::move(name), std::move(key), offset, byte_size);
  }
  ThrowIfError(status);
}

// (name, key, offset, byte_size)
py::list RegionsOf(const wire::SharedMemory& memory) {
  py::list rows;
  for (const auto& region : memory.Regions()) {
    rows.append(py::make_tuple(region->name(), region->key(), region->offset(), region->bytes()));
  }
  return rows;
}

}  // namespace

void BindSharedMemory(py::module_& module) {
  py::class_<wire::SharedMemory, std::shared_ptr<wire::SharedMemory>>(module, "SharedMemory")
      .def(py::init(&Make), py::arg("prefixes"), py::arg("owners"), py::arg("max_regions"),
           py::arg("max_bytes"), py::arg("max_copied_bytes"), py::arg("copies"))
      .def("register", &Register, py::arg("name"), py::arg("key"), py::arg("offset"), py::arg("byte_size"))
      .def("unregister", &wire::SharedMemory::Unregister, py::arg("name"))
      .def("unregister_all", &wire::SharedMemory::UnregisterAll)
      .def("regions", &RegionsOf);
}

}  // namespace falaj

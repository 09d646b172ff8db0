// The log of what was served as Python sees it.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "bind/fork_guard.h"
#include "join/served_log.h"

namespace falaj {

// Shared with the backend that fills it. Taken from by one thread at a time: the GIL sees to that.
class PyServedLog {
 public:
  PyServedLog(int64_t capacity, uint32_t per_million);

  // A NumPy array for each field, of the rows since the last call; texts as str. None where there are none.
  pybind11::object Take();
  uint64_t dropped() const { return Get().dropped(); }
  // Whether a backend may still fill it.
  bool in_use() const { return log_.shared().use_count() > 1; }

  const std::shared_ptr<ServedLog>& log() const { return log_.shared(); }

 private:
  ServedLog& Get() const;

  ForkGuarded<ServedLog> log_;
};

void BindServedLog(pybind11::module_& module);

}  // namespace falaj

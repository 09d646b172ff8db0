// Loading: backends and models as Python sees them.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "bind/runtime.h"
#include "core/background.h"

namespace falaj {

// A loaded model file before it is served: can be described, tried and measured. Handed over to a Model.
class PyBackend {
 public:
  // `share`: what its runs before it serves, and its loading and closing, may take from traffic.
  explicit PyBackend(std::unique_ptr<Backend> backend, std::vector<std::string> fallbacks = {},
                     Share share = Share::kFull);

  py::list Inputs() const;
  py::list Outputs() const;
  std::string placement() const { return Get().Placement(); }
  const std::vector<std::string>& fallbacks() const { return fallbacks_; }

  // One run on a fresh instance: a dict of arrays in, a dict of arrays out.
  py::dict Run(const py::dict& inputs, const py::object& convert);
  // (rows per second, seconds per run) of `instances` running `inputs` side by side for `seconds`.
  py::tuple Measure(const py::dict& inputs, int64_t rows, int instances, double seconds,
                    const py::object& convert);

  Share share() const { return share_; }
  Backend& Get() const;
  std::unique_ptr<Backend> Release();

 private:
  // Shared only with ForkGuarded's leak; released by Release.
  ForkGuarded<std::unique_ptr<Backend>> backend_;
  std::vector<std::string> fallbacks_;
  const Share share_;
};

// One served version. Closed when Python drops it, if it was not before.
class PyModel {
 public:
  PyModel(const Runtime& runtime, PyBackend& backend, const py::dict& options);
  // Of a batcher made elsewhere, on the runtime's threads.
  PyModel(const Runtime& runtime, std::shared_ptr<Batcher> batcher);
  ~PyModel();
  PyModel(const PyModel&) = delete;
  PyModel& operator=(const PyModel&) = delete;

  const std::shared_ptr<Batcher>& batcher() const { return batcher_.shared(); }
  void WarmUp(const py::dict& inputs, int times, int instances, const py::object& convert);
  bool WaitForSequences(double seconds);
  bool Drain(double seconds);
  void Close();
  py::dict Stats() const;
  double EstimatedCost(int64_t rows) const;

 private:
  ForkGuarded<RuntimeCore> core_;  // the batcher stands on its pool and timer
  ForkGuarded<Batcher> batcher_;
  const Share share_;
};

// As the `options` of a Model: everything about how it is served.
BatcherOptions ReadOptions(const py::dict& from);

void BindModel(py::module_& module);

}  // namespace falaj

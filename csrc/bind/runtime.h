// What falaj.Engine stands on: the threads, the model table, and the ways to ask a model.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "batch/deadline_timer.h"
#include "batch/executor_pool.h"
#include "bind/arrays.h"
#include "bind/fork_guard.h"
#include "observe/tracing.h"
#include "route/model_table.h"

namespace falaj {

// Shared by everything that can have work in flight, so that it outlives it.
struct RuntimeCore {
  explicit RuntimeCore(int cores) : pool(cores, &clock), timer(&clock) {}
  SteadyClock clock;
  ExecutorPool pool;
  DeadlineTimer timer;
  ModelTable table;
  const std::shared_ptr<Tracing> tracing = std::make_shared<Tracing>();  // shared with the I/O threads
};

// How one call wants to be answered.
struct InferOptions {
  int64_t version = 0;
  TimePoint deadline = TimePoint::max();
  int priority = 0;
  RequestSequence sequence;
  py::object outputs;       // names, or None for all
  py::object out;           // dict name -> array to fill, or None
  bool takes_many = false;  // any number of answers, rather than one
};

// Timeout in seconds (None: no deadline) as a deadline from now. Throws InvalidInput.
TimePoint DeadlineIn(const py::object& timeout);

class Runtime {
 public:
  // `convert(value, datatype_name) -> ndarray` turns lists and scalars into arrays.
  Runtime(int cores, py::object convert);

  // Throws Unavailable in a forked child and after Close.
  const std::shared_ptr<RuntimeCore>& core() const;
  const py::object& convert() const { return convert_; }

  py::object Infer(const std::string& model, const py::dict& inputs, const InferOptions& options);
  py::list InferMany(const std::string& model, const py::sequence& requests, const InferOptions& options,
                     bool return_exceptions);

  // Stops the threads. REQUIRES: every model was closed.
  void Close();

 private:
  ForkGuarded<RuntimeCore> core_;
  const py::object convert_;
};

// A request that is admitted and filled, and the hold on its model until it is enqueued.
struct Prepared {
  ModelLease lease;
  RefPtr<Request> request;
};

// Reads `inputs`, finds the model, admits and fills a request for `sink`; the caller enqueues it.
// Throws what is wrong. REQUIRES: the GIL
Prepared Prepare(RuntimeCore& core, const std::string& model, const py::dict& inputs,
                 const InferOptions& options, const py::object& convert, std::shared_ptr<CompletionSink> sink,
                 uint64_t tag);

// The answer of a delivered part, or of a request that has no parts; None: it is the end of those that had.
// Throws the failure. REQUIRES: the GIL
py::object ToAnswerOfMany(const Request& request, const py::object& outputs);

// Queues it. A model with a cache takes a digest of the inputs, for which others need not wait: the GIL is
// released meanwhile. REQUIRES: the GIL
void EnqueuePrepared(const Prepared& prepared, Batcher::Deadline deadline);

// The answer of a delivered request as a dict of arrays, or throws its failure. REQUIRES: the GIL
py::object ToAnswer(const Request& request, const py::object& outputs, const py::object& out);

void BindRuntime(py::module_& module);

}  // namespace falaj

// falaj._core: the only door between Python and the native core. falaj/_core.pyi is its description.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/answer_writer.h"
#include "bind/async_sink.h"
#include "bind/errors.h"
#include "bind/http_calls.h"
#include "bind/join.h"
#include "bind/load.h"
#include "bind/model.h"
#include "bind/online_store.h"
#include "bind/pipeline.h"
#include "bind/point_in_time.h"
#include "bind/runtime.h"
#include "bind/sequences.h"
#include "bind/served_log.h"
#include "bind/shared_memory.h"
#include "bind/streamed.h"
#include "bind/tracing.h"
#include "bind/windows.h"
#include "bind/wire_server.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "Falaj's native core.";
  module.attr("__version__") = FALAJ_VERSION;
  falaj::BindErrors(module);
  falaj::BindRuntime(module);
  falaj::BindModel(module);
  falaj::BindAnswerWriter(module);
  falaj::BindStreamed(module);
  falaj::BindAsyncSink(module);
  falaj::BindSharedMemory(module);
  falaj::BindWireServer(module);
  falaj::BindTracing(module);
  falaj::BindHttpCalls(module);
  falaj::BindOnlineStore(module);
  falaj::BindServedLog(module);
  falaj::BindJoin(module);
  falaj::BindPipeline(module);
  falaj::BindPointInTime(module);
  falaj::BindSequences(module);
  falaj::BindWindows(module);
  falaj::BindLoad(module);
}

// What a connection's protocol may ask of the I/O thread that carries it. Protocols are sans-IO: they are
// given bytes and give bytes, and everything else they need stands here, so that tests and fuzzers run them
// without a network (tests/native/fakes/fake_host.h).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "batch/batcher.h"
#include "observe/tracer.h"
#include "route/model_table.h"
#include "wire/client_shares.h"
#include "wire/control.h"
#include "wire/wire_options.h"
#include "wire/wire_stats.h"

namespace falaj::wire {

// Waits on an I/O thread for the answer to one infer request. Its address is the request's tag
// (TagOf below), so it lives until it is called, once, even when its client is gone.
class InferWaiter {
 public:
  virtual ~InferWaiter() = default;
  // On the I/O thread. The reference that the sink took is the callee's.
  virtual void OnDelivered(RefPtr<Request> request) = 0;
};
inline uint64_t TagOf(InferWaiter* waiter) { return reinterpret_cast<uint64_t>(waiter); }

// One I/O thread. All calls from that thread; implementations outlive their connections and requests.
class Host {
 public:
  virtual ~Host() = default;

  // The time of this turn of the loop: read once a turn, so it may be some tens of microseconds old.
  virtual TimePoint Now() const = 0;
  virtual const WireOptions& options() const = 0;
  virtual const ModelTable& models() const = 0;
  virtual WireCounters& counters(Wire wire) = 0;
  virtual ClientShares& shares() = 0;
  // Of the requests that are sampled (wire/request_trace.h).
  virtual Tracer& tracer() = 0;
  // True once the server is being stopped: protocols finish what they have and close.
  virtual bool draining() const = 0;

  // --- Infer requests. Set request.sink = sink() and request.tag = TagOf(waiter), Batcher::Enqueue it, then:
  virtual const std::shared_ptr<CompletionSink>& sink() const = 0;
  // Has the batcher flushed when the loop has drained its ready sockets (once a turn, whatever the number of
  // requests): requests of many connections become one batch.
  virtual void FlushLater(Batcher& batcher) = 0;

  // --- Everything else crosses to Python (see wire/control.h).
  // The waiter is called on this thread until it was given the last part of the reply or Forget was called.
  // Returns 0 and calls nobody where the control plane is gone or its queue is full.
  virtual uint64_t Ask(ControlRequest request, ControlWaiter* waiter) = 0;
  // The client went away: the control plane is told and the waiter is called no more.
  virtual void Forget(uint64_t id) = 0;
  // A record for the access log; dropped (and counted) where the log is behind.
  virtual void Log(AccessRecord record) = 0;
  // Bytes of the reply to `id` have been written to its client: the control plane may send more.
  virtual void Sent(uint64_t id, size_t bytes) = 0;
  // The present time as HTTP writes it: "Sun, 06 Nov 1994 08:49:37 GMT".
  virtual std::string_view Date() = 0;
};

}  // namespace falaj::wire

// What the network front end has done: counted by each I/O thread for itself, merged on read.
#pragma once

#include <array>
#include <cstdint>

#include "core/mutex.h"
#include "observe/counter.h"

namespace falaj::wire {

enum class Wire : uint8_t { kHttp, kGrpc, kAdmin };
inline constexpr size_t kWires = 3;

// Why something was not taken. The names are the `reason` labels of falaj_wire_refused_total.
enum class Refusal : uint8_t {
  kConnections,        // max_connections
  kClientConnections,  // max_connections_per_client
  kInFlight,           // max_requests_in_flight
  kClientShare,        // the client's share of them
  kBuffered,           // max_buffered_bytes
  kHeaderSize,
  kBodySize,
  kMalformed,  // not HTTP, not HTTP/2, not gRPC
  kHeaderTimeout,
  kBodyTimeout,
  kIdleTimeout,
  kWriteTimeout,
  kTls,    // a handshake that failed
  kFlood,  // resets, pings and control frames over their bounds
  kDraining,
  kControlQueue,  // requests that wait for the control plane
  kCount,
};
const char* RefusalName(Refusal refusal);

// For the histograms: 0 where the clock was read in another order.
inline uint64_t NanosBetween(TimePoint from, TimePoint to) {
  return to > from ? static_cast<uint64_t>((to - from).count()) : 0;
}

// Written by one I/O thread, read by anyone.
struct WireCounters {
  Counter connections_opened, connections_closed;
  Counter requests;                          // that were read whole, infer or not
  Counter infer_requests;                    // of them: answered natively
  Counter ok, client_errors, server_errors;  // answers: 2xx, 4xx, 5xx; gRPC statuses by their HTTP equivalent
  Counter cancelled;                         // the client went away first
  Counter bytes_in, bytes_out;
  std::array<Counter, static_cast<size_t>(Refusal::kCount)> refused;
  // Phases of infer requests in nanoseconds: reading (first byte to last), decoding, waiting (enqueued to
  // delivered here), encoding, and all together (last byte read to answer ready to be written).
  Histogram read, decode, wait, encode, request;

  [[gnu::cold, gnu::noinline]] void Refuse(Refusal why) { refused[static_cast<size_t>(why)].Add(1); }
};

}  // namespace falaj::wire

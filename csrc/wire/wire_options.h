// What the network front end accepts and how long it waits: configuration, fixed while it runs. Every bound
// is a key of falaj.toml (server/settings.py, which documents defaults and when to change them).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "wire/infer_header.h"

namespace falaj::wire {

class SharedMemory;

struct HttpLimits {
  size_t max_header_bytes = 16 * 1024;      // request line and all header fields
  size_t max_body_bytes = size_t{1} << 30;  // as sent, and after decompression
  size_t max_pipelined_bytes = 64 * 1024;   // read ahead while an earlier request is being answered
  Nanos header_timeout =
      std::chrono::seconds(10);                   // from the first byte of a request to the end of its header
  Nanos body_timeout = std::chrono::seconds(30);  // between two pieces of a body
  // A body that comes more slowly than this over its first `body_timeout` and from then on is given up.
  size_t min_body_bytes_per_second = 240;
  Nanos idle_timeout = std::chrono::seconds(120);  // of a kept-alive connection with nothing under way
  Nanos write_timeout = std::chrono::seconds(30);  // in which a client takes no byte of its answer
};

struct GrpcLimits {
  size_t max_message_bytes = size_t{1} << 30;  // as sent, and after decompression
  uint32_t max_concurrent_streams = 256;       // of one connection
  uint32_t max_requests_per_stream = 128;      // under way at a time, of one ModelStreamInfer
  size_t max_metadata_bytes = 16 * 1024;       // SETTINGS_MAX_HEADER_LIST_SIZE
  uint32_t stream_window_bytes = 1 << 20;      // flow control, towards us
  uint32_t connection_window_bytes = 16 << 20;
  uint32_t max_resets_per_second = 200;           // of one connection, above which it is closed (rapid reset)
  uint32_t max_control_frames_per_second = 1000;  // SETTINGS, PING, PRIORITY and empty DATA together
  Nanos min_ping_interval =
      std::chrono::seconds(10);  // clients that ping more often are sent away (3 strikes)
  Nanos keepalive_interval = std::chrono::seconds(7200);  // silence after which we ping
  Nanos keepalive_timeout = std::chrono::seconds(20);     // in which that ping must be answered
  Nanos idle_timeout = std::chrono::seconds(300);         // of a connection without streams
  Nanos handshake_timeout = std::chrono::seconds(10);     // to the client's SETTINGS
  // A message or a head that has begun and comes more slowly than this, over `message_timeout`, is given up.
  size_t min_message_bytes_per_second = 240;
  Nanos message_timeout = std::chrono::seconds(30);
  Nanos write_timeout = std::chrono::seconds(30);
};

struct WireOptions {
  // 0: half of the usable cores, 1 to 8; each answers short work itself.
  int io_threads = 0;
  int64_t max_connections = 20'000;             // all listeners
  int64_t max_connections_per_client = 10'000;  // by address
  int64_t max_requests_in_flight = 4096;        // all listeners
  int64_t max_requests_per_client = 2048;       // by address; see ClientShares for the fair share below it
  int64_t max_buffered_bytes = int64_t{4}
                               << 30;  // bodies being received and answers not yet taken, all together
  Nanos default_timeout{0};            // of an infer request that names none; 0: none
  CodecLimits codec;
  HttpLimits http;
  GrpcLimits grpc;
  // "compat triton": health bodies are empty, not ready is 400, error texts follow Triton's.
  bool triton_compat = false;
  uint32_t access_log_per_million = 0;          // how many of a million requests the access log gets
  std::shared_ptr<SharedMemory> shared_memory;  // shared with the control plane; null: none is allowed
};

}  // namespace falaj::wire

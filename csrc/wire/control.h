// Requests that are not infer, on their way to the control plane (Python) and back. The queue between them is
// the bridge: wire/control_queue.h on the native side, csrc/bind/bridge.cc and server/bridge.py on the other.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace falaj::wire {

using Fields =
    std::vector<std::pair<std::string, std::string>>;  // header fields or metadata, names lower-case

enum class Listener : uint8_t { kHttp, kGrpc, kAdmin };

// Whole: bodies are bounded by the protocol's limits before they get here.
struct ControlRequest {
  Listener listener = Listener::kHttp;
  std::string method;  // "GET"; for gRPC always "POST"
  std::string target;  // as sent: "/v2/models/m?x=1"; for gRPC "/inference.GRPCInferenceService/ServerLive"
  int http_minor = 1;
  Fields headers;    // without pseudo-headers
  std::string body;  // for gRPC the one request message, decompressed, without its prefix
  std::string peer_address;
  uint16_t peer_port = 0;
  bool tls = false;
  std::string certificate_subject;  // see Peer
};

// A part of the answer. HTTP: a head, then body parts, the last with `last`. gRPC: messages in `body`
// (has_body), the last part with the status; a unary answer is one part.
struct ControlReply {
  uint64_t id = 0;
  bool head = false;
  int status = 0;       // HTTP: with head. gRPC: with last; the grpc-status code
  std::string message;  // gRPC: the grpc-message, not encoded
  Fields headers;       // with head; for gRPC with last: trailing metadata
  std::string body;
  bool has_body = false;
  bool last = false;
};

// On an I/O thread, for one request.
class ControlWaiter {
 public:
  virtual ~ControlWaiter() = default;
  virtual void OnReply(ControlReply reply) = 0;
};

// One request that the access log is to tell of. Never tensor contents, never credentials.
struct AccessRecord {
  Listener listener = Listener::kHttp;
  std::string method;
  std::string target;      // without its query
  std::string request_id;  // the client's x-request-id; empty: it sent none
  std::string peer_address;
  int status = 0;
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  uint64_t duration_us = 0;
};

}  // namespace falaj::wire

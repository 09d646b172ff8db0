#include "wire/wire_stats.h"

namespace falaj::wire {

const char* RefusalName(Refusal refusal) {
  switch (refusal) {
    case Refusal::kConnections:
      return "connections";
    case Refusal::kClientConnections:
      return "client_connections";
    case Refusal::kInFlight:
      return "in_flight";
    case Refusal::kClientShare:
      return "client_share";
    case Refusal::kBuffered:
      return "buffered";
    case Refusal::kHeaderSize:
      return "header_size";
    case Refusal::kBodySize:
      return "body_size";
    case Refusal::kMalformed:
      return "malformed";
    case Refusal::kHeaderTimeout:
      return "header_timeout";
    case Refusal::kBodyTimeout:
      return "body_timeout";
    case Refusal::kIdleTimeout:
      return "idle_timeout";
    case Refusal::kWriteTimeout:
      return "write_timeout";
    case Refusal::kTls:
      return "tls";
    case Refusal::kFlood:
      return "flood";
    case Refusal::kDraining:
      return "draining";
    case Refusal::kControlQueue:
      return "control_queue";
    case Refusal::kCount:
      break;
  }
  return "";
}

}  // namespace falaj::wire

// What is asked, and of whom.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "load/address.h"
#include "load/number_writer.h"
#include "load/place.h"
#include "load/tls_client.h"

namespace falaj::load {

enum class Protocol { kHttp, kGrpc };
using Fields = std::vector<std::pair<std::string, std::string>>;

// A request's own part: fields of HTTP beside the target's, and the body or the gRPC message.
struct Payload {
  Fields headers;
  std::string body;
  std::vector<Place> places = {};  // in the body
};

struct TargetOptions {
  Protocol protocol = Protocol::kHttp;
  std::string host;
  uint16_t port = 0;
  bool tls = false;
  std::string ca_file;  // empty: the authorities of this machine
  std::string method = "POST";
  std::string path;
  Fields headers;  // of HTTP, or metadata of gRPC
  std::vector<Payload> payloads;
  VariedNumber varied;  // where there is one payload
  size_t keep = 0;      // bytes of an answer that are kept
};

// Immutable, shared by the threads that ask. Its requests are whole: what goes through a socket, or through a
// stream of HTTP/2.
class Target {
 public:
  // Resolves the host, which may block. Fails with InvalidInput or Unavailable.
  static Result<std::shared_ptr<const Target>> Make(TargetOptions options);

  const TargetOptions& options() const { return options_; }
  const Address& address() const { return address_; }
  const std::string& authority() const { return authority_; }
  // For the connection on this socket; nothing without TLS, or where memory is out.
  TlsHandle NewTlsOn(int socket) const;

  struct Request {
    std::string bytes;
    size_t body_at = 0;
    std::vector<Place> places;
  };
  const std::vector<Request>& requests() const { return requests_; }

 private:
  Target() = default;
  Status Render();

  TargetOptions options_;  // without the payloads' bodies, which the requests have
  Address address_;
  std::string authority_;
  TlsContext tls_;
  std::vector<Request> requests_;
};

}  // namespace falaj::load

// The header fields of a gRPC call, as far as the server acts on them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wire/compression.h"
#include "wire/control.h"
#include "wire/grpc_status.h"
#include "wire/http2_field_rules.h"
#include "wire/trace_fields.h"

namespace falaj::wire {

// Who answers, and how messages and answers belong together.
enum class GrpcMethod : uint8_t {
  kInfer,        // ModelInfer, natively
  kStreamInfer,  // ModelStreamInfer, natively: an answer for each message, in any order
  kAsk,          // the control plane: one message in, any number out
  kAskEach,      // the control plane, which is asked each message in turn (reflection)
};

// Filled field by field, pseudo-headers first; reused from call to call. Not thread-safe.
class GrpcHead {
 public:
  void Clear();

  enum class Added { kFine, kMalformed, kFarTooLarge };
  // Fields that only the control plane reads are kept only for calls that go there, and within
  // `max_bytes` (RFC 9113's measure: 32 bytes above name and value).
  Added Add(std::string_view name, std::string_view value, size_t max_bytes);
  // Asked as the request goes on.
  Http2FieldRules& rules() { return rules_; }

  // Why the call is not taken. `http_status` is 200 where gRPC itself can say it.
  struct Fault {
    int http_status = 200;
    GrpcFailure failure;
    bool names_encodings = false;  // the answer says which we know
  };
  // REQUIRES: all fields were added
  std::optional<Fault> Check(size_t max_bytes) const;

  GrpcMethod method() const { return method_; }
  const std::string& path() const { return path_; }
  // From the client's `grpc-timeout`. REQUIRES: Check found nothing
  std::optional<Nanos> timeout() const { return timeout_; }
  Encoding encoding() const { return encoding_; }  // of compressed messages
  bool accepts_gzip() const { return accepts_gzip_; }
  bool errors_end_stream() const { return errors_end_stream_; }  // "triton_grpc_error: true"
  const std::string& request_id() const { return request_id_; }
  const TraceFields& trace() const { return trace_; }
  // Without pseudo-headers; empty where the call is answered natively.
  const Fields& fields() const { return fields_; }
  bool too_large(size_t max_bytes) const { return bytes_ > max_bytes; }

 private:
  void TakeField(std::string_view name, std::string_view value);
  void TakePath(std::string_view path);
  void TakeEncoding(std::string_view name);

  Http2FieldRules rules_;
  size_t bytes_ = 0;
  GrpcMethod method_ = GrpcMethod::kAsk;
  bool is_post_ = false;
  bool is_grpc_ = false;
  bool takes_trailers_ = false;
  bool accepts_gzip_ = false;
  bool errors_end_stream_ = false;
  Encoding encoding_ = Encoding::kIdentity;
  std::string unknown_encoding_;
  std::string path_;
  std::optional<Nanos> timeout_;
  Status timeout_fault_;
  std::string request_id_;
  TraceFields trace_;
  Fields fields_;
};

// What `grpc-encoding` may be.
inline constexpr std::string_view kGrpcEncodings = "identity,deflate,gzip";

}  // namespace falaj::wire

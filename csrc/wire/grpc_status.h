// How a gRPC call ends: status codes, and the small text formats of its metadata.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/mutex.h"
#include "core/status.h"

namespace falaj::wire {

// The numbers of google.rpc.Code, as `grpc-status` carries them.
enum class GrpcCode : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// How a call ended, failed or not.
struct GrpcFailure {
  GrpcCode code = GrpcCode::kOk;
  std::string message;
};

GrpcCode ToGrpcCode(Code code);
GrpcFailure ToGrpcFailure(const Status& status);
// kUnknown where there is no such code.
GrpcCode GrpcCodeOf(int number);

// What the same outcome would be by HTTP.
enum class HttpClass { kOk, kClientError, kServerError };
HttpClass HttpClassOf(GrpcCode code);

// "100m", "1S": at most 8 digits and a unit of H M S m u n. Fails with InvalidInput.
Result<Nanos> ParseGrpcTimeout(std::string_view text);

// As `grpc-message` wants it: printable ASCII as it is, the rest and '%' as "%XX". Long texts are cut, since
// clients bound their metadata. Replaces `out`.
void EncodeGrpcMessage(std::string_view message, std::string& out);

// google.rpc.Status with code and message in base64, for `grpc-status-details-bin`. Replaces `out`.
void EncodeStatusDetails(const GrpcFailure& failure, std::string& out);

}  // namespace falaj::wire

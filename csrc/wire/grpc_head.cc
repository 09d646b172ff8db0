#include "wire/grpc_head.h"

namespace falaj::wire {
namespace {

constexpr std::string_view kInferPath = "/inference.GRPCInferenceService/ModelInfer";
constexpr std::string_view kStreamInferPath = "/inference.GRPCInferenceService/ModelStreamInfer";
constexpr std::string_view kReflectionPath = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
constexpr std::string_view kReflectionAlphaPath =
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

constexpr size_t kFieldOverhead = 32;
constexpr size_t kPatience = 4;  // times the bound, up to which an excess is answered and not cut off
constexpr size_t kMostRequestId = 128;

// "/package.Service/Method"
bool IsMethodPath(std::string_view path) {
  if (path.size() < 4 || path[0] != '/') return false;
  const size_t slash = path.find('/', 1);
  return slash != std::string_view::npos && slash > 1 && slash + 1 < path.size() &&
         path.find('/', slash + 1) == std::string_view::npos;
}

// "application/grpc", and with "+proto" or parameters behind it.
bool IsGrpc(std::string_view content_type) {
  constexpr std::string_view kGrpc = "application/grpc";
  if (!content_type.starts_with(kGrpc)) return false;
  return content_type.size() == kGrpc.size() || content_type[kGrpc.size()] == '+' ||
         content_type[kGrpc.size()] == ';';
}

}  // namespace

void GrpcHead::Clear() {
  rules_ = {};
  bytes_ = 0;
  method_ = GrpcMethod::kAsk;
  is_post_ = is_grpc_ = takes_trailers_ = accepts_gzip_ = errors_end_stream_ = false;
  encoding_ = Encoding::kIdentity;
  unknown_encoding_.clear();
  path_.clear();
  timeout_.reset();
  timeout_fault_ = Status::Ok();
  request_id_.clear();
  trace_.Clear();
  fields_.clear();
}

void GrpcHead::TakePath(std::string_view path) {
  path_.assign(path);
  if (path == kInferPath) {
    method_ = GrpcMethod::kInfer;
  } else if (path == kStreamInferPath) {
    method_ = GrpcMethod::kStreamInfer;
  } else if (path == kReflectionPath || path == kReflectionAlphaPath) {
    method_ = GrpcMethod::kAskEach;
  }
}

void GrpcHead::TakeEncoding(std::string_view name) {
  if (const auto encoding = ParseEncoding(name)) {
    encoding_ = *encoding;
  } else {
    unknown_encoding_.assign(name);
  }
}

void GrpcHead::TakeField(std::string_view name, std::string_view value) {
  // By length first: the names are compared for every field of every call.
  switch (name.size()) {
    case 2:
      if (name == "te") takes_trailers_ = value == "trailers";
      break;
    case 10:
    case 11:
      trace_.Add(name, value);
      break;
    case 12:
      if (name == "content-type") is_grpc_ = IsGrpc(value);
      if (name == "grpc-timeout") {
        auto timeout = ParseGrpcTimeout(value);
        if (timeout.ok()) {
          timeout_ = timeout.value();
        } else {
          timeout_fault_ = timeout.status();
        }
      }
      if (name == "x-request-id") request_id_.assign(value.substr(0, kMostRequestId));
      break;
    case 13:
      if (name == "grpc-encoding") TakeEncoding(value);
      break;
    case 17:
      if (name == "triton_grpc_error") errors_end_stream_ = value == "true";
      break;
    case 20:
      if (name == "grpc-accept-encoding") accepts_gzip_ = value.find("gzip") != std::string_view::npos;
      break;
    default:
      break;
  }
}

GrpcHead::Added GrpcHead::Add(std::string_view name, std::string_view value, size_t max_bytes) {
  if (!rules_.Add(name, value)) return Added::kMalformed;
  bytes_ += name.size() + value.size() + kFieldOverhead;
  if (too_large(max_bytes)) return bytes_ <= kPatience * max_bytes ? Added::kFine : Added::kFarTooLarge;
  if (name.starts_with(':')) {
    if (name == ":path") TakePath(value);
    if (name == ":method") is_post_ = value == "POST";
    return Added::kFine;
  }
  TakeField(name, value);
  if (method_ == GrpcMethod::kAsk || method_ == GrpcMethod::kAskEach) fields_.emplace_back(name, value);
  return Added::kFine;
}

std::optional<GrpcHead::Fault> GrpcHead::Check(size_t max_bytes) const {
  if (too_large(max_bytes)) {
    return Fault{
        200, {GrpcCode::kResourceExhausted, "metadata of more than " + std::to_string(max_bytes) + " bytes"}};
  }
  if (!is_post_) return Fault{405, {GrpcCode::kUnimplemented, "expected the method POST"}};
  if (!is_grpc_) return Fault{415, {GrpcCode::kInvalidArgument, "expected content-type application/grpc"}};
  if (!takes_trailers_) {
    return Fault{200,
                 {GrpcCode::kInvalidArgument,
                  "expected the field 'te: trailers'; a proxy in between may not know gRPC"}};
  }
  if (!IsMethodPath(path_)) {
    return Fault{200,
                 {GrpcCode::kUnimplemented,
                  "expected a path of the form /package.Service/Method, got '" + path_.substr(0, 256) + "'"}};
  }
  if (!unknown_encoding_.empty()) {
    return Fault{200,
                 {GrpcCode::kUnimplemented, "grpc-encoding '" + unknown_encoding_.substr(0, 64) +
                                                "' is not known; known are " + std::string(kGrpcEncodings)},
                 /*names_encodings=*/true};
  }
  if (!timeout_fault_.ok()) return Fault{200, ToGrpcFailure(timeout_fault_)};
  return std::nullopt;
}

}  // namespace falaj::wire

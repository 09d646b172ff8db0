#include "wire/http_infer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "wire/binary_tensor.h"
#include "wire/utf8.h"

namespace falaj::wire {
namespace {

constexpr std::string_view kPrefix = "/v2/models/";
constexpr std::string_view kVersions = "/versions/";
constexpr std::string_view kInfer = "/infer";
constexpr size_t kLongestRequestId = 128;
constexpr size_t kKeepBytes = size_t{1} << 20;  // what is larger is given back when large requests end

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

std::string PercentDecode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 2]) : -1;
    if (low >= 0) {
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  T value{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

void AppendNumber(size_t value, std::string& out) {
  std::array<char, 24> text;
  out.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr);
}

// What may be written into a header field.
bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= kLongestRequestId &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

std::optional<InferTarget> ParseInferTarget(std::string_view target) {
  target = target.substr(0, target.find('?'));
  if (!target.starts_with(kPrefix) || !target.ends_with(kInfer)) return std::nullopt;
  if (target.size() < kPrefix.size() + kInfer.size()) return std::nullopt;
  target = target.substr(kPrefix.size(), target.size() - kPrefix.size() - kInfer.size());
  InferTarget parsed{"", 0};
  const size_t slash = target.find('/');
  if (slash != std::string_view::npos) {
    if (!target.substr(slash).starts_with(kVersions)) return std::nullopt;
    const std::string_view version = target.substr(slash + kVersions.size());
    if (version.empty() || version.find('/') != std::string_view::npos) return std::nullopt;
    parsed.version = ParseNumber<int64_t>(version);
    if (parsed.version && *parsed.version < 1) parsed.version.reset();
    target = target.substr(0, slash);
  }
  if (target.empty()) return std::nullopt;
  parsed.model = PercentDecode(target);
  return parsed;
}

int HttpStatusOf(Code code) {
  switch (code) {
    case Code::kOk:
      return 200;
    case Code::kInvalidInput:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kUnavailable:
      return 503;
    case Code::kDeadlineExceeded:
      return 504;
    case Code::kCancelled:
      return 499;
    case Code::kUnsupported:
      return 501;
    case Code::kInternal:
      break;
  }
  return 500;
}

const char* HttpReason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

void WriteError(int status, std::string_view message, HttpAnswer& answer) {
  answer.Clear();
  answer.status = status;
  answer.fields = "content-type: application/json\r\n";
  if (status == 503 || status == 429) answer.fields += "retry-after: 1\r\n";
  answer.body = "{\"error\":";
  if (IsUtf8(message)) {
    AppendJsonString(message, answer.body);
  } else {  // it quotes what the client sent
    std::string ascii(message);
    std::replace_if(
        ascii.begin(), ascii.end(), [](char c) { return (c & 0x80) != 0; }, '?');
    AppendJsonString(ascii, answer.body);
  }
  answer.body += '}';
}

void HttpCodec::Tick() {
  if (!std::exchange(large_lately_, false)) FreeMemory();
}

void HttpCodec::FreeMemory() {
  if (inflated.capacity() > kKeepBytes) std::string().swap(inflated);
  json.FreeMemory();
}

Status HttpInfer::Decode(const InferFields& fields, std::string_view& body, HttpCodec& codec,
                         const WireOptions& options) {
  if (!fields.content_encoding) return Status::Ok();
  const auto encoding = ParseEncoding(*fields.content_encoding);
  if (!encoding) {
    failed_fields_ = "accept-encoding: gzip, deflate\r\n";
    return Unsupported("content encoding '" + std::string(*fields.content_encoding) +
                       "' is not supported: expected gzip or deflate");
  }
  if (*encoding == Encoding::kIdentity) return Status::Ok();
  const auto bytes = std::as_bytes(std::span(body.data(), body.size()));
  switch (codec.decompressor.Decompress(*encoding, bytes, options.http.max_body_bytes, codec.inflated)) {
    case Inflated::kDone:
      break;
    case Inflated::kTooLarge:
      failed_status_ = 413;
      return InvalidInput("the request's body is larger than " + std::to_string(options.http.max_body_bytes) +
                          " bytes when decompressed");
    case Inflated::kMalformed:
      return InvalidInput("the request's body is not valid " + std::string(*fields.content_encoding));
  }
  codec.inflated.reserve(codec.inflated.size() + JsonDecoder::kPadding);
  body = codec.inflated;
  return Status::Ok();
}

Status HttpInfer::Start(const InferTarget& target, const InferFields& fields, std::string_view body,
                        HttpCodec& codec, const Recipient& to) {
  failed_status_ = 0;
  failed_fields_.clear();
  request_id_.assign(fields.request_id && IsRequestId(*fields.request_id) ? *fields.request_id : "");
  encoding_ = fields.accept_encoding ? ChooseEncoding(*fields.accept_encoding) : Encoding::kIdentity;
  if (!target.version) return InvalidInput("expected a version of 1 or more in the path");
  const Status status = StartDecoded(target, fields, body, codec, to);
  if (status.code() == Code::kNotFound && to.options.triton_compat) {
    return UnknownToTriton(target.model, *target.version);
  }
  return status;
}

Status HttpInfer::StartDecoded(const InferTarget& target, const InferFields& fields, std::string_view body,
                               HttpCodec& codec, const Recipient& to) {
  FALAJ_RETURN_IF_ERROR(Decode(fields, body, codec, to.options));
  codec.Expect(body.size());
  size_t json_bytes = body.size();
  if (fields.header_length) {
    const auto length = ParseNumber<size_t>(*fields.header_length);
    if (!length || *length > body.size()) {
      return InvalidInput("Inference-Header-Content-Length: expected 0 to " + std::to_string(body.size()) +
                          " (the body's size), got '" + std::string(*fields.header_length) + "'");
    }
    json_bytes = *length;
    if (json_bytes == 0) return StartRaw(target, body, to);
  }
  const std::string_view blobs = body.substr(json_bytes);
  FALAJ_RETURN_IF_ERROR(
      codec.json.Parse(body.substr(0, json_bytes), std::as_bytes(std::span(blobs.data(), blobs.size()))));
  FALAJ_RETURN_IF_ERROR(call_.Admit(to.models, target.model, *target.version, codec.json.header(),
                                    codec.json.PayloadBytes(), to.sink, to.tag, to.now, TimePoint::max(),
                                    to.options.default_timeout, InferCall::Takes::kOneAnswer,
                                    to.options.shared_memory));
  FALAJ_RETURN_IF_ERROR(codec.json.Fill(call_.inputs(), call_.payload()));
  call_.Enqueue(to.trace);
  return Status::Ok();
}

Status HttpInfer::StartRaw(const InferTarget& target, std::string_view body, const Recipient& to) {
  auto found = to.models.Find(target.model, *target.version);
  if (!found.ok()) return found.status();
  const ModelLease lease = std::move(found).value();  // `header` views its names
  InferHeader header;
  FALAJ_RETURN_IF_ERROR(DescribeRaw(*lease, body.size(), header));
  FALAJ_RETURN_IF_ERROR(call_.Admit(to.models, target.model, lease->options().version, header, body.size(),
                                    to.sink, to.tag, to.now, TimePoint::max(), to.options.default_timeout));
  std::byte* payload = call_.payload();
  if (header.inputs[0].type == DataType::kBytes) {
    std::memcpy(payload, body.data(), body.size());
    *static_cast<std::string_view*>(call_.inputs()[0].data) = {reinterpret_cast<const char*>(payload),
                                                               body.size()};
  } else {
    FALAJ_RETURN_IF_ERROR(
        ReadBinary(std::as_bytes(std::span(body.data(), body.size())), call_.inputs()[0], payload));
  }
  call_.Enqueue(to.trace);
  return Status::Ok();
}

void HttpInfer::Finish(RefPtr<Request> request, HttpCodec& codec, HttpAnswer& answer) {
  answer.Clear();
  Status status = call_.Take(std::move(request));
  Encoded encoded;
  if (status.ok()) {
    auto result = EncodeReply(call_.reply(), answer.body);
    status = result.status();
    if (result.ok()) encoded = *result;
  }
  call_.Clear();
  if (!status.ok()) return Fail(status, answer);
  answer.fields +=
      encoded.binary ? "content-type: application/octet-stream\r\n" : "content-type: application/json\r\n";
  if (encoded.binary) {
    answer.fields += "inference-header-content-length: ";
    AppendNumber(encoded.json_bytes, answer.fields);
    answer.fields += "\r\n";
  }
  Compress(codec, answer);
  AddRequestId(answer);
}

void HttpInfer::Compress(HttpCodec& codec, HttpAnswer& answer) {
  if (encoding_ == Encoding::kIdentity || answer.body.size() < kCompressFrom) return;
  scratch_.clear();
  if (!codec.compressor.Compress(encoding_, answer.body, scratch_).ok())
    return;  // out of memory: send it plain
  answer.body.swap(scratch_);
  if (scratch_.capacity() > kCompressFrom) std::string().swap(scratch_);  // a connection's own, and many are
  answer.fields +=
      encoding_ == Encoding::kGzip ? "content-encoding: gzip\r\n" : "content-encoding: deflate\r\n";
}

void HttpInfer::AddRequestId(HttpAnswer& answer) const {
  if (!request_id_.empty()) answer.fields.append("x-request-id: ").append(request_id_).append("\r\n");
}

void HttpInfer::Fail(const Status& status, HttpAnswer& answer) {
  call_.Clear();
  WriteError(failed_status_ != 0 ? failed_status_ : HttpStatusOf(status.code()), status.message(), answer);
  answer.fields += failed_fields_;
  AddRequestId(answer);
}

}  // namespace falaj::wire

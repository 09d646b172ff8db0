#include "wire/grpc_status.h"

#include <algorithm>
#include <cstdint>

#include "wire/utf8.h"

namespace falaj::wire {
namespace {

// Of a message before it is encoded: three times as much, and its base64, stay below the 8 KiB of metadata
// that clients take.
constexpr size_t kMostMessageBytes = 1024;

std::string_view Cut(std::string_view text) {
  if (text.size() <= kMostMessageBytes) return text;
  size_t end = kMostMessageBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a character
  return text.substr(0, end);
}

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// Without the padding, as the gRPC protocol asks of senders.
void AppendBase64(std::string_view bytes, std::string& out) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) out.push_back(kDigits[bits >> (count - 6) & 63]);
  }
  if (count > 0) out.push_back(kDigits[bits << (6 - count) & 63]);
}

}  // namespace

GrpcCode ToGrpcCode(Code code) {
  switch (code) {
    case Code::kOk:
      return GrpcCode::kOk;
    case Code::kInvalidInput:
      return GrpcCode::kInvalidArgument;
    case Code::kNotFound:
      return GrpcCode::kNotFound;
    case Code::kUnavailable:
      return GrpcCode::kUnavailable;
    case Code::kDeadlineExceeded:
      return GrpcCode::kDeadlineExceeded;
    case Code::kCancelled:
      return GrpcCode::kCancelled;
    case Code::kUnsupported:
      return GrpcCode::kUnimplemented;
    case Code::kInternal:
      return GrpcCode::kInternal;
  }
  return GrpcCode::kInternal;
}

GrpcFailure ToGrpcFailure(const Status& status) { return {ToGrpcCode(status.code()), status.message()}; }

GrpcCode GrpcCodeOf(int number) {
  const bool known = number >= 0 && number <= static_cast<int>(GrpcCode::kUnauthenticated);
  return known ? static_cast<GrpcCode>(number) : GrpcCode::kUnknown;
}

HttpClass HttpClassOf(GrpcCode code) {
  switch (code) {
    case GrpcCode::kOk:
      return HttpClass::kOk;
    case GrpcCode::kUnknown:
    case GrpcCode::kDeadlineExceeded:
    case GrpcCode::kUnimplemented:
    case GrpcCode::kInternal:
    case GrpcCode::kUnavailable:
    case GrpcCode::kDataLoss:
      return HttpClass::kServerError;
    default:
      return HttpClass::kClientError;
  }
}

Result<Nanos> ParseGrpcTimeout(std::string_view text) {
  constexpr size_t kMostDigits = 8;
  const auto malformed = [text] {
    return InvalidInput("grpc-timeout: expected 1 to 8 digits and a unit of H, M, S, m, u or n, got '" +
                        std::string(text.substr(0, 32)) + "'");
  };
  if (text.size() < 2 || text.size() > kMostDigits + 1) return malformed();
  int64_t value = 0;
  for (const char c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9') return malformed();
    value = 10 * value + (c - '0');
  }
  constexpr int64_t kCenturyHours = 36525 * 24;  // nobody waits longer, and the clock's range ends at 2.9
  switch (text.back()) {
    case 'H':
      return Nanos(std::chrono::hours(std::min(value, kCenturyHours)));
    case 'M':
      return Nanos(std::chrono::minutes(value));
    case 'S':
      return Nanos(std::chrono::seconds(value));
    case 'm':
      return Nanos(std::chrono::milliseconds(value));
    case 'u':
      return Nanos(std::chrono::microseconds(value));
    case 'n':
      return Nanos(value);
    default:
      return malformed();
  }
}

void EncodeGrpcMessage(std::string_view message, std::string& out) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  out.clear();
  for (const char c : Cut(message)) {
    if (c >= ' ' && c <= '~' && c != '%') {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
}

void EncodeStatusDetails(const GrpcFailure& failure, std::string& out) {
  constexpr char kCodeTag = 1 << 3;         // int32 code = 1
  constexpr char kMessageTag = 2 << 3 | 2;  // string message = 2
  std::string_view message = Cut(failure.message);
  if (!IsUtf8(message)) message = "the message is not UTF-8";
  std::string status(1, kCodeTag);
  AppendVarint(static_cast<uint64_t>(failure.code), status);
  status.push_back(kMessageTag);
  AppendVarint(message.size(), status);
  status.append(message);
  out.clear();
  AppendBase64(status, out);
}

}  // namespace falaj::wire

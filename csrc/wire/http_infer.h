// One infer request by HTTP, from its body to its answer, without the connection: the native listener and the
// ASGI app both answer with this.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "wire/compression.h"
#include "wire/infer_call.h"
#include "wire/json_decoder.h"
#include "wire/raw_request.h"
#include "wire/wire_options.h"

namespace falaj::wire {

// Where an infer request goes: "/v2/models/{model}[/versions/{version}]/infer".
struct InferTarget {
  std::string model;               // percent-decoded
  std::optional<int64_t> version;  // 0: the served default; none: it is no number
};
// Nothing where `target` (as sent, its query not looked at) is another path. Malformed escapes are kept as
// they are.
std::optional<InferTarget> ParseInferTarget(std::string_view target);

// What the head of a request says that matters to infer. Views into the head.
struct InferFields {
  std::optional<std::string_view> header_length;  // Inference-Header-Content-Length
  std::optional<std::string_view> content_encoding;
  std::optional<std::string_view> accept_encoding;
  std::optional<std::string_view> request_id;  // X-Request-Id
};

struct HttpAnswer {
  int status = 200;
  std::string fields;  // whole lines, each with its CRLF; without Content-Length
  std::string body;

  void Clear() {
    status = 200;
    fields.clear();
    body.clear();
  }
};

// What requests are read with, one after the other: one for each thread that reads. What a large request made
// it hold is kept for those that follow: giving it back and having the kernel zero it anew costs a third of
// what reading such a request does. Its owner calls Tick every now and then, or FreeMemory.
struct HttpCodec {
  explicit HttpCodec(const CodecLimits& limits) : json(limits) {}
  // Gives it back unless a large request came since the last call.
  void Tick();
  void FreeMemory();
  // A request of so many bytes is about to be read.
  void Expect(size_t bytes) { large_lately_ = large_lately_ || bytes > kLarge; }

  JsonDecoder json;
  Compressor compressor;
  Decompressor decompressor;
  std::string inflated;

 private:
  static constexpr size_t kLarge = 64 * 1024;
  bool large_lately_ = false;
};

// Answers below this size are not compressed, whatever the client accepts.
inline constexpr size_t kCompressFrom = 1024;

// Where a request is answered from and to.
struct Recipient {
  const ModelTable& models;
  const WireOptions& options;
  const std::shared_ptr<CompletionSink>& sink;
  uint64_t tag = 0;
  TimePoint now{};
  const TraceContext* trace = nullptr;  // null: it is not sampled
};

// Reused from request to request. Not thread-safe.
class HttpInfer {
 public:
  // Reads `body` (readable for JsonDecoder::kPadding bytes beyond its end), admits the request and enqueues
  // it: Host::FlushLater(batcher()) follows, and the waiter of `to.tag` is called. Where it fails, Fail is
  // the answer.
  Status Start(const InferTarget& target, const InferFields& fields, std::string_view body, HttpCodec& codec,
               const Recipient& to);
  Batcher& batcher() const { return call_.batcher(); }
  void Cancel() { call_.Cancel(); }

  // The answer to the delivered request, which is dropped.
  void Finish(RefPtr<Request> request, HttpCodec& codec, HttpAnswer& answer);
  void Fail(const Status& status, HttpAnswer& answer);

 private:
  Status Decode(const InferFields& fields, std::string_view& body, HttpCodec& codec,
                const WireOptions& options);
  Status StartDecoded(const InferTarget& target, const InferFields& fields, std::string_view body,
                      HttpCodec& codec, const Recipient& to);
  Status StartRaw(const InferTarget& target, std::string_view body, const Recipient& to);
  void Compress(HttpCodec& codec, HttpAnswer& answer);
  void AddRequestId(HttpAnswer& answer) const;

  InferCall call_;
  Encoding encoding_ = Encoding::kIdentity;  // of the answer
  std::string request_id_;
  int failed_status_ = 0;  // of a failure that no Code has
  std::string failed_fields_;
  std::string scratch_;
};

// The HTTP status of a failure (facts/protocol.md, "Status mapping").
int HttpStatusOf(Code code);
const char* HttpReason(int status);
// {"error": "..."} and its fields: content type, Retry-After where trying again can help.
void WriteError(int status, std::string_view message, HttpAnswer& answer);

}  // namespace falaj::wire

// The reading half: bytes into requests. http_answer.cc is the other half.
#include "wire/http_session.h"

#include <algorithm>

#include "wire/http_exchange.h"

namespace falaj::wire {
namespace {

constexpr size_t kReadBytes = 16 * 1024;  // asked of the socket at a time
constexpr size_t kBodyStep = 64 * 1024;   // first memory of a body that did not come with its head
constexpr size_t kKeepBytes = 64 * 1024;  // buffers above this are given back after their request
constexpr std::string_view kHeadEnd = "\r\n\r\n";

}  // namespace

HttpSession::HttpSession(Host& host, Carrier& carrier, Peer peer, std::shared_ptr<ClientHoldings> holdings,
                         HttpCodec& codec, Listener listener)
    : host_(host),
      carrier_(carrier),
      peer_(std::move(peer)),
      holdings_(std::move(holdings)),
      codec_(codec),
      listener_(listener),
      limits_(host.options().http),
      counters_(host.counters(listener == Listener::kAdmin ? Wire::kAdmin : Wire::kHttp)),
      parser_(limits_.max_header_bytes, limits_.max_body_bytes),
      last_input_(host.Now()),
      last_output_(last_input_) {}

HttpSession::~HttpSession() {
  Withdraw();
  Account(0);
}

bool HttpSession::WantsInput() const {
  switch (state_) {
    case State::kHead:
    case State::kBody:
      return true;
    case State::kAsked:  // also where nothing more is to be read: that is how its client is seen to leave
      return in_.size() < limits_.max_pipelined_bytes;
    case State::kAnswered:
      return !close_after_ && in_.size() < limits_.max_pipelined_bytes;
    case State::kClosed:
      break;
  }
  return false;
}

std::span<std::byte> HttpSession::InputRoom() {
  if (state_ == State::kBody && !parser_.head().chunked) {
    const size_t step = std::min<size_t>(body_left_, std::max(kBodyStep, body_.size()));
    if (body_.MakeRoom(std::min<size_t>(body_left_, kBodyStep / 4)) && body_.Room().size() < step) {
      // Grown by what has come rather than by what was announced.
      static_cast<void>(body_.MakeRoom(step));
    }
    return body_.Room().first(std::min<size_t>(body_.Room().size(), body_left_));
  }
  ByteBuffer& buffer = state_ == State::kBody ? chunks_ : in_;
  // Not again for each byte of a client that sends them one by one.
  if (buffer.Room().size() < kReadBytes / 2 && !buffer.MakeRoom(kReadBytes)) return {};
  return buffer.Room().first(std::min(buffer.Room().size(), kReadBytes));
}

void HttpSession::Received(size_t bytes) {
  last_input_ = host_.Now();
  counters_.bytes_in.Add(bytes);
  if (state_ == State::kBody && !parser_.head().chunked) {
    body_.Append(bytes);
    body_left_ -= bytes;
    if (!Account(body_.size()))
      return Refuse(503, "too much is being received at the moment", Refusal::kBuffered);
    if (body_left_ == 0) Dispatch(body_.view());
  } else if (state_ == State::kBody) {
    chunks_.Append(bytes);
    ReadChunks();
  } else {
    if (state_ == State::kHead && in_.empty()) request_began_ = last_input_;
    in_.Append(bytes);
    ReadRequests();
  }
}

void HttpSession::ReadRequests() {
  while (state_ == State::kHead && ReadHead()) {
  }
}

// Returns whether a request was begun.
bool HttpSession::ReadHead() {
  while (in_.view().starts_with("\r\n")) in_.Consume(2);  // RFC 9112, 2.2: empty lines before a request
  const std::string_view bytes = in_.view();
  if (bytes.empty()) return false;
  if (bytes[0] != '\r' && (bytes[0] < 'A' || bytes[0] > 'z')) {
    Refuse(400, "this is not an HTTP request", Refusal::kMalformed);
    return false;
  }
  const size_t end = bytes.substr(0, limits_.max_header_bytes).find(kHeadEnd);
  if (end == std::string_view::npos) {
    if (bytes.size() >= limits_.max_header_bytes) {
      Refuse(431,
             "the request's header is larger than " + std::to_string(limits_.max_header_bytes) + " bytes",
             Refusal::kHeaderSize);
    }
    return false;
  }
  std::optional<HttpFault> fault;
  parser_.Reset();
  head_bytes_ = parser_.ReadHead(bytes.substr(0, end + kHeadEnd.size()), fault);
  if (!fault && head_bytes_ == 0) fault = HttpFault{400, "this is not an HTTP request"};
  if (fault) {
    const bool large = fault->status == 413;
    Refuse(fault->status, fault->message, large ? Refusal::kBodySize : Refusal::kMalformed);
    return false;
  }
  StartBody();
  return true;
}

void HttpSession::StartBody() {
  const HttpHead& head = parser_.head();
  bytes_in_ = 0;
  is_head_ = head.method == "HEAD";
  close_after_ = !head.keep_alive || host_.draining();
  target_ =
      listener_ != Listener::kAdmin && head.method == "POST" ? ParseInferTarget(head.target) : std::nullopt;
  const std::string_view rest = in_.view().substr(head_bytes_);
  const uint64_t length = head.content_length.value_or(0);
  body_in_place_ = !head.chunked && rest.size() >= length;
  if (body_in_place_) return Dispatch(rest.substr(0, length));
  if (head.expects_continue && rest.empty()) {
    head_out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    last_output_ = host_.Now();
  }
  state_ = State::kBody;
  body_began_ = last_input_;
  ByteBuffer& buffer = head.chunked ? chunks_ : body_;
  if (!buffer.Append(rest)) return Refuse(503, "no memory is left for the body", Refusal::kBuffered);
  body_left_ = length - (head.chunked ? 0 : rest.size());
  in_.Truncate(head_bytes_);
  if (head.chunked) ReadChunks();
}

void HttpSession::ReadChunks() {
  std::optional<HttpFault> fault;
  chunks_.Consume(parser_.ReadChunks(chunks_.view(), chunked_body_, fault));
  if (!fault && chunks_.size() >= limits_.max_header_bytes && !parser_.BodyDone()) {
    fault = HttpFault{400, "a chunk's head, or what follows the last one, is too long"};
  }
  if (fault) {
    return Refuse(fault->status, fault->message,
                  fault->status == 413 ? Refusal::kBodySize : Refusal::kMalformed);
  }
  if (!Account(chunked_body_.size())) {
    return Refuse(503, "too much is being received at the moment", Refusal::kBuffered);
  }
  if (!parser_.BodyDone()) return;
  chunked_body_.reserve(chunked_body_.size() + JsonDecoder::kPadding);
  Dispatch(chunked_body_);
}

void HttpSession::Dispatch(std::string_view body) {
  request_read_ = std::chrono::steady_clock::now();
  bytes_in_ = head_bytes_ + body.size();
  counters_.requests.Add(1);
  counters_.read.Add(NanosBetween(request_began_, last_input_));
  state_ = State::kAsked;
  ChooseForLog();
  if (Begin()) target_ ? DispatchInfer(body) : DispatchControl(body);
  DropRequestBytes();
}

void HttpSession::DispatchInfer(std::string_view body) {
  counters_.infer_requests.Add(1);
  const HttpHead& head = parser_.head();
  const InferFields fields{head.Find("inference-header-content-length"), head.Find("content-encoding"),
                           head.Find("accept-encoding"), head.Find("x-request-id")};
  if (exchange_ == nullptr) exchange_ = std::make_unique<HttpExchange>();
  exchange_->session = this;
  HttpInfer& infer = exchange_->infer;
  if (host_.tracer().on()) BeginTrace();
  const Status status = infer.Start(
      *target_, fields, body, codec_,
      {host_.models(), host_.options(), host_.sink(), TagOf(exchange_.get()), host_.Now(), trace_.context()});
  decoded_ = std::chrono::steady_clock::now();
  trace_.Decoded(decoded_);
  counters_.decode.Add(NanosBetween(request_read_, decoded_));
  if (status.ok()) {
    infer_under_way_ = true;
    return host_.FlushLater(infer.batcher());
  }
  End();
  infer.Fail(status, answer_);
  trace_.End(host_.tracer(), answer_.status, decoded_);
  WriteAnswer();
}

void HttpSession::BeginTrace() {
  const HttpHead& head = parser_.head();
  TraceFields fields;
  for (const auto& [name, value] : head.fields) {
    for (const std::string_view wanted : {"traceparent", "tracestate"}) {
      if (EqualIgnoringCase(name, wanted)) fields.Add(wanted, value);
    }
  }
  const std::string_view path = head.target.substr(0, head.target.find('?'));  // a query may hold a secret
  trace_.Begin(host_.tracer(), TraceKind::kHttp, peer_, target_->model, path, fields, request_began_);
}

void HttpSession::DispatchControl(std::string_view body) {
  const HttpHead& head = parser_.head();
  ControlRequest request;
  request.listener = listener_;
  request.method = head.method;
  request.target = head.target;
  request.http_minor = head.minor;
  for (const auto& [name, value] : head.fields) {
    std::string lower(name);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
    request.headers.emplace_back(std::move(lower), value);
  }
  if (head.chunked) {
    request.body = std::move(chunked_body_);
  } else {
    request.body = body;
  }
  request.peer_address = peer_.address;
  request.peer_port = peer_.port;
  request.tls = peer_.tls;
  request.certificate_subject = peer_.certificate_subject;
  asked_ = host_.Ask(std::move(request), this);
  if (asked_ == 0) {
    End();
    counters_.Refuse(Refusal::kControlQueue);
    Answer(503, "too many requests wait for the control plane");
  }
}

// What the request was read from is not needed any more; what came behind it stays.
void HttpSession::DropRequestBytes() {
  if (state_ == State::kClosed) return;
  in_.Consume(body_in_place_ ? static_cast<size_t>(bytes_in_) : head_bytes_);
  if (body_.capacity() > kKeepBytes) body_.Free();
  body_.Clear();
  if (chunked_body_.capacity() > kKeepBytes) std::string().swap(chunked_body_);
  chunked_body_.clear();
  if (!chunks_.empty()) std::swap(in_, chunks_);  // in_ is empty: what came behind the head was chunks
  if (chunks_.capacity() > kKeepBytes) chunks_.Free();
  chunks_.Clear();
  head_bytes_ = 0;
  body_left_ = 0;
  // What it became, tensors or a message to the control plane, takes about as much until it is answered.
  if (state_ != State::kAsked) Account(0);
}

void HttpSession::InputEnded() {
  if (state_ == State::kAnswered && asked_ == 0) {
    close_after_ = true;  // its answer is on its way
    return;
  }
  Withdraw();
  state_ = State::kClosed;
}

void HttpSession::Tick() {
  const TimePoint now = host_.Now();
  if (head_out_.size() + body_out_.size() > written_ && now - last_output_ > limits_.write_timeout) {
    counters_.Refuse(Refusal::kWriteTimeout);
    Withdraw();
    head_out_.clear();
    body_out_.clear();
    written_ = 0;
    state_ = State::kClosed;
    return;
  }
  if (state_ == State::kHead && in_.empty()) {
    if (now - last_input_ >= kTickInterval && now - last_output_ >= kTickInterval) FreeMemory();
    if (now - last_input_ > limits_.idle_timeout && now - last_output_ > limits_.idle_timeout) {
      counters_.Refuse(Refusal::kIdleTimeout);
      state_ = State::kClosed;
    }
  } else if (state_ == State::kHead && now - request_began_ > limits_.header_timeout) {
    Refuse(408, "the request's header took too long", Refusal::kHeaderTimeout);
  } else if (state_ == State::kBody && BodyIsSlow(now)) {
    Refuse(408, "the request's body took too long", Refusal::kBodyTimeout);
  }
}

// All that is kept from one request to the next; many idle connections would keep much.
void HttpSession::FreeMemory() {
  for (ByteBuffer* buffer : {&in_, &body_, &chunks_}) buffer->Free();
  for (std::string* text : {&chunked_body_, &head_out_, &body_out_, &answer_.fields, &answer_.body}) {
    std::string().swap(*text);
  }
  parser_.FreeMemory();
  exchange_.reset();
}

bool HttpSession::BodyIsSlow(TimePoint now) const {
  if (now - last_input_ > limits_.body_timeout) return true;
  const Nanos since = now - body_began_;
  if (since <= limits_.body_timeout) return false;
  const size_t got = parser_.head().chunked ? chunked_body_.size() : body_.size();
  return static_cast<double>(got) < static_cast<double>(limits_.min_body_bytes_per_second) *
                                        std::chrono::duration<double>(since).count();
}

void HttpSession::Drain() {
  if (state_ == State::kHead && in_.empty() && head_out_.empty()) {
    state_ = State::kClosed;
  } else {
    close_after_ = true;
  }
}

}  // namespace falaj::wire

// The writing half of HttpSession: answers into bytes. http_session.cc is the other half.
#include <algorithm>
#include <array>
#include <charconv>

#include "wire/http_exchange.h"
#include "wire/http_session.h"

namespace falaj::wire {
namespace {

constexpr size_t kKeepAnswer = 64 * 1024;  // answers above this give their memory back

template <typename T>
void AppendNumber(T value, std::string& out, int base = 10) {
  std::array<char, 24> text;
  out.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), value, base).ptr);
}

bool IsHopByHop(std::string_view name) {
  return EqualIgnoringCase(name, "connection") || EqualIgnoringCase(name, "transfer-encoding") ||
         EqualIgnoringCase(name, "keep-alive");
}

}  // namespace

// Whether the request may be begun; where not, it was answered. Administration is bounded by the control
// queue alone: whoever looks why the server is full has to be answered.
bool HttpSession::Begin() {
  if (listener_ == Listener::kAdmin) return true;
  const auto refusal = host_.shares().Begin(*holdings_);
  if (!refusal) {
    begun_ = true;
    return true;
  }
  counters_.Refuse(*refusal);
  if (*refusal == Refusal::kClientShare) {
    Answer(429, "this client has too many requests under way");
  } else {
    Answer(503, "too many requests are under way");
  }
  return false;
}

void HttpSession::End() {
  if (begun_) host_.shares().End(*holdings_);
  begun_ = false;
}

// Counts `bytes` as what this connection holds in memory; false, and counted no more than before, where the
// server's bound is reached. What every connection has anyway is not counted.
bool HttpSession::Account(size_t bytes) {
  const int64_t wanted = bytes > kKeepAnswer ? static_cast<int64_t>(bytes) : 0;
  if (wanted > accounted_ && !host_.shares().Buffer(wanted - accounted_)) return false;
  if (wanted < accounted_) host_.shares().Unbuffer(accounted_ - wanted);
  accounted_ = wanted;
  return true;
}

// The client is gone, or is sent away: what it asked is withdrawn.
void HttpSession::Withdraw() {
  if (infer_under_way_) {
    infer_under_way_ = false;
    exchange_->session = nullptr;
    HttpExchange* const orphan = exchange_.release();
    orphan->infer.Cancel();
    trace_.End(host_.tracer(), 499, std::chrono::steady_clock::now());
    counters_.cancelled.Add(1);
    Log(499, 0);
  }
  if (asked_ != 0) {
    host_.Forget(asked_);
    asked_ = 0;
    counters_.cancelled.Add(1);
    Log(499, 0);
  }
  End();
}

void HttpSession::OnDelivered(RefPtr<Request> request) {
  infer_under_way_ = false;
  End();
  const TimePoint delivered = std::chrono::steady_clock::now();
  counters_.wait.Add(NanosBetween(decoded_, delivered));
  trace_.Delivered(*request, delivered);
  exchange_->infer.Finish(std::move(request), codec_, answer_);
  const TimePoint encoded = std::chrono::steady_clock::now();
  counters_.encode.Add(NanosBetween(delivered, encoded));
  counters_.request.Add(NanosBetween(request_read_, encoded));
  if (!Account(answer_.body.size())) {
    counters_.Refuse(Refusal::kBuffered);
    WriteError(503, "too many answers wait to be taken", answer_);
  }
  trace_.End(host_.tracer(), answer_.status, encoded);
  WriteAnswer();
  carrier_.OutputReady();
}

void HttpSession::Refuse(int status, std::string_view message, Refusal why) {
  counters_.Refuse(why);
  Withdraw();
  close_after_ = true;
  Answer(status, message);
  in_.Clear();
  body_.Free();
  chunks_.Clear();
  chunked_body_.clear();
  Account(0);
}

void HttpSession::Answer(int status, std::string_view message) {
  WriteError(status, message, answer_);
  WriteAnswer();
}

// `answer_` becomes the whole of what is written.
void HttpSession::WriteAnswer() {
  StartHead(answer_.status);
  head_out_ += answer_.fields;
  head_out_ += "content-length: ";
  AppendNumber(answer_.body.size(), head_out_);
  head_out_ += "\r\n";
  EndHead();
  body_out_.clear();
  if (!is_head_) body_out_.swap(answer_.body);
  answer_complete_ = true;
  CountAnswer(answer_.status, head_out_.size() + body_out_.size());
}

void HttpSession::StartHead(int status) {
  state_ = State::kAnswered;
  last_output_ = host_.Now();
  head_out_ += "HTTP/1.1 ";
  AppendNumber(status, head_out_);
  head_out_.append(" ").append(HttpReason(status)).append("\r\ndate: ").append(host_.Date()).append("\r\n");
}

void HttpSession::EndHead() {
  if (host_.draining()) close_after_ = true;
  if (close_after_) {
    head_out_ += "connection: close\r\n";
  } else if (parser_.head().minor == 0) {
    head_out_ += "connection: keep-alive\r\n";
  }
  head_out_ += "\r\n";
}

void HttpSession::StartControlAnswer(const ControlReply& reply) {
  StartHead(reply.status);
  bool has_length = reply.status == 204 || reply.status == 304;
  for (const auto& [name, value] : reply.headers) {
    if (IsHopByHop(name)) continue;
    has_length = has_length || EqualIgnoringCase(name, "content-length");
    head_out_.append(name).append(": ").append(value).append("\r\n");
  }
  chunked_answer_ = false;
  if (!has_length && reply.last) {
    head_out_ += "content-length: ";
    AppendNumber(reply.body.size(), head_out_);
    head_out_ += "\r\n";
  } else if (!has_length && parser_.head().minor > 0) {
    chunked_answer_ = true;
    head_out_ += "transfer-encoding: chunked\r\n";
  } else if (!has_length) {
    close_after_ = true;  // HTTP/1.0: the body ends with the connection
  }
  EndHead();
  answer_.status = reply.status;
  answer_complete_ = false;
}

void HttpSession::OnReply(ControlReply reply) {
  if (reply.head) StartControlAnswer(reply);
  if (is_head_) {
    // Not sent, so nobody need wait until it has left.
    if (!reply.last) host_.Sent(reply.id, reply.body.size());
  } else if (!reply.body.empty()) {
    if (chunked_answer_) {
      AppendNumber(reply.body.size(), body_out_, 16);
      body_out_.append("\r\n").append(reply.body).append("\r\n");
    } else if (body_out_.empty()) {
      body_out_ = std::move(reply.body);
    } else {
      body_out_ += reply.body;
    }
  }
  if (reply.last) {
    if (chunked_answer_ && !is_head_) body_out_ += "0\r\n\r\n";
    asked_ = 0;
    End();
    answer_complete_ = true;
    CountAnswer(answer_.status, head_out_.size() + body_out_.size());
    if (head_out_.size() + body_out_.size() == written_) FinishAnswer();
  }
  carrier_.OutputReady();
}

size_t HttpSession::Output(std::span<iovec> pieces) {
  size_t count = 0;
  size_t skip = written_;
  for (std::string* text : {&head_out_, &body_out_}) {
    if (skip < text->size() && count < pieces.size()) {
      pieces[count++] = {text->data() + skip, text->size() - skip};
      skip = 0;
    } else {
      skip -= std::min(skip, text->size());
    }
  }
  return count;
}

void HttpSession::Wrote(size_t bytes) {
  if (bytes == 0) return;
  last_output_ = host_.Now();
  counters_.bytes_out.Add(bytes);
  written_ += bytes;
  if (written_ < head_out_.size() + body_out_.size()) return;
  if (asked_ != 0) host_.Sent(asked_, body_out_.size());
  head_out_.clear();
  if (body_out_.capacity() > kKeepAnswer) std::string().swap(body_out_);
  body_out_.clear();
  written_ = 0;
  if (state_ == State::kAnswered && answer_complete_) FinishAnswer();
}

void HttpSession::FinishAnswer() {
  answer_complete_ = false;
  chunked_answer_ = false;
  is_head_ = false;
  Account(0);
  if (close_after_) {
    state_ = State::kClosed;
    return;
  }
  state_ = State::kHead;
  request_began_ = host_.Now();
  ReadRequests();
}

void HttpSession::CountAnswer(int status, uint64_t bytes_out) {
  if (status < 400) {
    counters_.ok.Add(1);
  } else {
    (status < 500 ? counters_.client_errors : counters_.server_errors).Add(1);
  }
  Log(status, bytes_out);
}

// Whether this request is in the access log's sample: every n-th that this thread has read, without a random
// number for each.
void HttpSession::ChooseForLog() {
  const uint64_t share = host_.options().access_log_per_million;
  const uint64_t read = counters_.requests.Get();  // with this one
  logged_ = read * share / 1'000'000 != (read - 1) * share / 1'000'000;
  if (!logged_) return;
  const HttpHead& head = parser_.head();
  record_ = {listener_,
             std::string(head.method),
             std::string(head.target.substr(0, head.target.find('?'))),
             std::string(head.Find("x-request-id").value_or("")),
             peer_.address,
             0,
             bytes_in_,
             0,
             0};
}

void HttpSession::Log(int status, uint64_t bytes_out) {
  if (!logged_) return;
  logged_ = false;
  record_.status = status;
  record_.bytes_out = bytes_out;
  record_.duration_us = NanosBetween(request_read_, std::chrono::steady_clock::now()) / 1000;
  host_.Log(std::move(record_));
}

}  // namespace falaj::wire

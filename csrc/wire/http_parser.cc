#include "wire/http_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <limits>

namespace falaj::wire {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;

constexpr std::string_view kLastChunk = "0\r\n\r\n";

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

// A field of several lines (obs-fold). RFC 9112 has servers refuse it, proxies read it differently, and Beast
// puts its value together on the stack.
bool IsFolded(std::string_view head) {
  for (size_t next = head.find('\n') + 1; next != 0; next = head.find('\n', next) + 1) {
    if (next < head.size() && (head[next] == ' ' || head[next] == '\t')) return true;
  }
  return false;
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

}  // namespace

bool EqualIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return Lower(x) == Lower(y); });
}

std::optional<std::string_view> HttpHead::Find(std::string_view name) const {
  for (const auto& [field, value] : fields) {
    if (EqualIgnoringCase(field, name)) return value;
  }
  return std::nullopt;
}

// Beast calls the virtual functions with views into what it was given.
class BeastParser final : public http::basic_parser<true> {
 public:
  BeastParser(HttpHead& head, std::string*& body) : head_(head), body_(body) {}

 private:
  void on_request_impl(http::verb, boost::beast::string_view method, boost::beast::string_view target,
                       int version, error_code&) override {
    head_.method = View(method);
    head_.target = View(target);
    head_.minor = version % 10;
  }
  void on_response_impl(int, boost::beast::string_view, int, error_code&) override {}
  void on_field_impl(http::field, boost::beast::string_view name, boost::beast::string_view value,
                     error_code&) override {
    // What follows a chunked body is no header: nothing there may change what the request is.
    if (!head_done_) head_.fields.emplace_back(View(name), View(value));
  }
  void on_header_impl(error_code&) override { head_done_ = true; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(boost::beast::string_view data, error_code&) override { return data.size(); }
  void on_chunk_header_impl(std::uint64_t, boost::beast::string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, boost::beast::string_view data, error_code&) override {
    body_->append(data.data(), data.size());
    return data.size();
  }
  void on_finish_impl(error_code&) override {}

  HttpHead& head_;
  std::string*& body_;
  bool head_done_ = false;
};

class HttpParser::Impl {
 public:
  Impl(size_t max_header_bytes, uint64_t max_body_bytes)
      : max_header_bytes_(static_cast<uint32_t>(std::min<size_t>(max_header_bytes, UINT32_MAX))),
        max_body_bytes_(max_body_bytes) {
    Reset();
  }

  void Reset() {
    head.fields.clear();
    head = {{}, {}, 1, std::move(head.fields), std::nullopt, false, true, false};
    parser.emplace(head, body);
    parser->header_limit(max_header_bytes_);
    // A body of known length is counted by the session, before any of it has come.
    parser->body_limit(std::numeric_limits<uint64_t>::max());
  }

  std::optional<HttpFault> FaultOf(const error_code& error) const {
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      return HttpFault{431,
                       "the request's header is larger than " + std::to_string(max_header_bytes_) + " bytes"};
    }
    if (error == http::error::body_limit) return TooLarge();
    if (error == http::error::bad_version) return HttpFault{505, "expected HTTP/1.0 or HTTP/1.1"};
    return HttpFault{400, "this is not an HTTP request: " + error.message()};
  }
  HttpFault TooLarge() const {
    return {413, "the request's body is larger than " + std::to_string(max_body_bytes_) + " bytes"};
  }

  // What Beast leaves to its user, and what RFC 9112 wants refused.
  std::optional<HttpFault> FinishHead() {
    int hosts = 0;
    for (const auto& [name, value] : head.fields) {
      if (EqualIgnoringCase(name, "host")) ++hosts;
      if (EqualIgnoringCase(name, "expect")) {
        if (!EqualIgnoringCase(value, "100-continue")) {
          return HttpFault{417, "expectation '" + std::string(value) + "' is not known"};
        }
        head.expects_continue = head.minor > 0;
      }
      if (EqualIgnoringCase(name, "transfer-encoding") && !EqualIgnoringCase(value, "chunked")) {
        return HttpFault{501, "transfer encoding '" + std::string(value) + "' is not supported"};
      }
    }
    if (hosts != 1 && (head.minor > 0 || hosts > 1)) {
      return HttpFault{400, "expected one Host field, got " + std::to_string(hosts)};
    }
    head.keep_alive = parser->keep_alive();
    head.chunked = parser->chunked();
    if (head.chunked && head.minor == 0) {
      return HttpFault{400, "HTTP/1.0 has no chunked bodies"};
    }
    // ReadChunks counts. Beast would count a chunk each time that it looks at the chunk's head.
    if (head.chunked) parser->body_limit(boost::none);
    if (!head.chunked) {
      const auto length = parser->content_length();
      if (length) head.content_length = *length;
      if (length && *length > max_body_bytes_) return TooLarge();
    }
    return std::nullopt;
  }

  HttpHead head;
  std::string* body = nullptr;
  std::optional<BeastParser> parser;
  const uint32_t max_header_bytes_;
  const uint64_t max_body_bytes_;
};

HttpParser::HttpParser(size_t max_header_bytes, uint64_t max_body_bytes)
    : impl_(std::make_unique<Impl>(max_header_bytes, max_body_bytes)) {}
HttpParser::~HttpParser() = default;

void HttpParser::Reset() { impl_->Reset(); }
void HttpParser::FreeMemory() { impl_->head = {}; }
const HttpHead& HttpParser::head() const { return impl_->head; }
bool HttpParser::BodyDone() const { return impl_->parser->is_done(); }

size_t HttpParser::ReadHead(std::string_view bytes, std::optional<HttpFault>& fault) {
  if (IsFolded(bytes)) {
    fault = HttpFault{400, "this is not an HTTP request: a header field goes on in a second line"};
    return 0;
  }
  error_code error;
  const size_t taken = impl_->parser->put(boost::asio::const_buffer(bytes.data(), bytes.size()), error);
  if (error && error != http::error::need_more) {
    fault = impl_->FaultOf(error);
    return 0;
  }
  if (!impl_->parser->is_header_done()) {
    if (bytes.size() >= impl_->max_header_bytes_) fault = impl_->FaultOf(http::error::header_limit);
    return 0;
  }
  fault = impl_->FinishHead();
  return taken;
}

size_t HttpParser::ReadChunks(std::string_view bytes, std::string& body, std::optional<HttpFault>& fault) {
  impl_->body = &body;
  size_t taken = 0;
  while (taken < bytes.size() && !impl_->parser->is_done()) {
    const std::string_view left = bytes.substr(taken);
    // Beast takes it for granted that a last chunk which it sees for the second time is whole. What begins
    // with a zero is never the end of a body before it has as many bytes.
    if (left.size() < kLastChunk.size() && left.front() == '0') return taken;
    error_code error;
    const size_t before = body.size();
    const size_t count = impl_->parser->put(boost::asio::const_buffer(left.data(), left.size()), error);
    taken += count;
    if (body.size() == before && count > impl_->max_header_bytes_) {
      fault = HttpFault{400, "a chunk's head, or what follows the last one, is too long"};
      return taken;
    }
    if (error && error != http::error::need_more) {
      fault = impl_->FaultOf(error);
      return taken;
    }
    if (body.size() > impl_->max_body_bytes_) {
      fault = impl_->TooLarge();
      return taken;
    }
    if (error || count == 0) return taken;
  }
  return taken;
}

}  // namespace falaj::wire

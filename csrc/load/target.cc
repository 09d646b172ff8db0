#include "load/target.h"

#include <algorithm>

#include "load/grpc_prefix.h"

namespace falaj::load {
namespace {

std::string AuthorityOf(const TargetOptions& options) {
  const bool is_v6 = options.host.find(':') != std::string::npos;
  return (is_v6 ? "[" + options.host + "]" : options.host) + ":" + std::to_string(options.port);
}

bool IsToken(std::string_view text) {
  return !text.empty() &&
         std::none_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c > '~' || c == ':'; });
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == '\x7f'; });
}

// What is written into a head as it is must not end a line of it.
Status CheckFields(const Fields& fields) {
  for (const auto& [name, value] : fields) {
    if (!IsToken(name) || HasControl(value)) {
      return InvalidInput("header '" + name +
                          "': expected a name of letters and dashes, and a value in one line");
    }
  }
  return Status::Ok();
}

}  // namespace

Result<std::shared_ptr<const Target>> Target::Make(TargetOptions options) {
  const std::shared_ptr<Target> made(new Target);
  FALAJ_RETURN_IF_ERROR(CheckFields(options.headers));
  for (const Payload& payload : options.payloads) FALAJ_RETURN_IF_ERROR(CheckFields(payload.headers));
  if (HasControl(options.path) || options.path.find(' ') != std::string::npos ||
      !options.path.starts_with('/')) {
    return InvalidInput("path '" + options.path + "': expected one that begins with / and has no spaces");
  }
  if (!IsToken(options.method)) return InvalidInput("method '" + options.method + "': expected a word");
  if (options.payloads.empty()) return InvalidInput("expected at least one request");
  auto address = Resolve(options.host, options.port);
  if (!address.ok()) return address.status();
  made->address_ = *address;
  made->authority_ = AuthorityOf(options);
  if (options.tls) {
    auto context = MakeTlsContext(options.ca_file, options.protocol == Protocol::kGrpc);
    if (!context.ok()) return context.status();
    made->tls_ = std::move(context).value();
  }
  made->options_ = std::move(options);
  FALAJ_RETURN_IF_ERROR(made->Render());
  return std::shared_ptr<const Target>(made);
}

TlsHandle Target::NewTlsOn(int socket) const {
  return tls_ == nullptr ? nullptr : NewTls(tls_.get(), options_.host, socket);
}

Status Target::Render() {
  std::string head = options_.method + " " + options_.path + " HTTP/1.1\r\nHost: " + authority_ + "\r\n";
  for (const auto& [name, value] : options_.headers) head += name + ": " + value + "\r\n";
  for (Payload& payload : options_.payloads) {
    Request request;
    if (options_.protocol == Protocol::kHttp) {
      request.bytes = head;
      for (const auto& [name, value] : payload.headers) request.bytes += name + ": " + value + "\r\n";
      request.bytes += "Content-Length: " + std::to_string(payload.body.size()) + "\r\n\r\n";
    } else {
      if (payload.body.size() > UINT32_MAX) return InvalidInput("expected a message of less than 4 GiB");
      const auto prefix = GrpcPrefix(payload.body.size());
      request.bytes.assign(prefix.begin(), prefix.end());
    }
    for (const Place& place : payload.places) {
      const size_t width = place.width();
      if (payload.body.size() < width || place.at > payload.body.size() - width) {
        return InvalidInput("a place at " + std::to_string(place.at) + " is not in the request's body");
      }
    }
    request.places = std::move(payload.places);
    request.body_at = request.bytes.size();
    request.bytes += payload.body;
    payload.body = std::string();
    requests_.push_back(std::move(request));
  }
  const VariedNumber& varied = options_.varied;
  if (varied.count > 0 && requests_.size() != 1) return InvalidInput("a number varies: expected one request");
  return Status::Ok();
}

}  // namespace falaj::load

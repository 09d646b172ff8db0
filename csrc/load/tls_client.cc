#include "load/tls_client.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <array>

namespace falaj::load {
namespace {

bool IsNumeric(const std::string& host) {
  in6_addr room{};
  return inet_pton(AF_INET, host.c_str(), &room) == 1 || inet_pton(AF_INET6, host.c_str(), &room) == 1;
}

}  // namespace

Result<TlsContext> MakeTlsContext(const std::string& ca_file, bool http2) {
  ERR_clear_error();
  TlsContext context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return Unavailable("TLS: no memory is left");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (ca_file.empty()) {
    if (SSL_CTX_set_default_verify_paths(context.get()) != 1) {
      return InvalidInput("TLS: the authorities of this machine cannot be used: " + TlsComplaint(nullptr));
    }
  } else if (SSL_CTX_load_verify_locations(context.get(), ca_file.c_str(), nullptr) != 1) {
    return InvalidInput("TLS: the authorities of '" + ca_file + "' cannot be used: " + TlsComplaint(nullptr));
  }
  static constexpr std::array<unsigned char, 3> kHttp2{2, 'h', '2'};
  static constexpr std::array<unsigned char, 9> kHttp1{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  const int failed = http2 ? SSL_CTX_set_alpn_protos(context.get(), kHttp2.data(), kHttp2.size())
                           : SSL_CTX_set_alpn_protos(context.get(), kHttp1.data(), kHttp1.size());
  if (failed != 0) return Unavailable("TLS: no memory is left");
  return context;
}

TlsHandle NewTls(SSL_CTX* context, const std::string& host, int socket) {
  TlsHandle ssl(SSL_new(context));
  if (ssl == nullptr || SSL_set_fd(ssl.get(), socket) != 1) return nullptr;
  SSL_set_connect_state(ssl.get());
  const bool named = IsNumeric(host)
                         ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), host.c_str()) == 1
                         : SSL_set1_host(ssl.get(), host.c_str()) == 1 &&
                               SSL_set_tlsext_host_name(ssl.get(), host.c_str()) == 1;
  return named ? std::move(ssl) : nullptr;
}

std::string TlsComplaint(const SSL* ssl) {
  constexpr size_t kMostText = 500;
  std::string text;
  while (const unsigned long error = ERR_get_error()) {
    std::array<char, 256> line{};
    ERR_error_string_n(error, line.data(), line.size());
    if (text.size() < kMostText) text.append(text.empty() ? "" : "; ").append(line.data());
  }
  if (ssl != nullptr && SSL_get_verify_result(ssl) != X509_V_OK) {
    text.append(text.empty() ? "" : "; ").append(X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
  }
  return text.empty() ? "no reason was given" : text;
}

}  // namespace falaj::load

#include "join/redis_tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <array>

namespace falaj {
namespace {

Status BadFile(const char* what, const std::string& path) {
  return InvalidInput("online store: TLS: " + std::string(what) + " '" + path +
                      "' cannot be used: " + TlsComplaint(nullptr));
}

}  // namespace

Result<TlsContext> MakeTlsClient(const RedisOptions& options) {
  ERR_clear_error();
  TlsContext context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return Unavailable("online store: TLS: no memory is left");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (options.ca.empty()) {
    if (SSL_CTX_set_default_verify_paths(context.get()) != 1) return BadFile("ca", "of this machine");
  } else if (SSL_CTX_load_verify_locations(context.get(), options.ca.c_str(), nullptr) != 1) {
    return BadFile("ca", options.ca);
  }
  if (options.certificate.empty() != options.key.empty()) {
    return InvalidInput("online store: TLS: expected both of certificate and key, or neither");
  }
  if (options.certificate.empty()) return context;
  if (SSL_CTX_use_certificate_chain_file(context.get(), options.certificate.c_str()) != 1) {
    return BadFile("certificate", options.certificate);
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), options.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return BadFile("key", options.key);
  }
  return context;
}

TlsHandle NewTlsConnection(SSL_CTX* context, const std::string& host, bool numeric) {
  TlsHandle ssl(SSL_new(context));
  BIO* const in = BIO_new(BIO_s_mem());
  BIO* const out = BIO_new(BIO_s_mem());
  if (ssl == nullptr || in == nullptr || out == nullptr) {
    BIO_free(in);
    BIO_free(out);
    return nullptr;
  }
  SSL_set_bio(ssl.get(), in, out);  // which owns them from here on
  SSL_set_connect_state(ssl.get());
  const bool named = numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), host.c_str()) == 1
                             : SSL_set1_host(ssl.get(), host.c_str()) == 1 &&
                                   SSL_set_tlsext_host_name(ssl.get(), host.c_str()) == 1;
  return named ? std::move(ssl) : nullptr;
}

std::string TlsComplaint(const SSL* ssl) {
  std::string text;
  while (const unsigned long error = ERR_get_error()) {
    std::array<char, 256> line{};
    ERR_error_string_n(error, line.data(), line.size());
    if (text.size() < 1000) text.append(text.empty() ? "" : "; ").append(line.data());
  }
  if (ssl != nullptr && SSL_get_verify_result(ssl) != X509_V_OK) {
    text.append(text.empty() ? "" : "; ").append(X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
  }
  return text.empty() ? "no reason was given" : text;
}

}  // namespace falaj

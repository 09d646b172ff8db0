#include "wire/tls_context.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <array>

namespace falaj::wire {
namespace {

Status BadFile(const char* what, const std::string& path) {
  return InvalidInput(std::string("TLS: ") + what + " '" + path + "' cannot be used: " + TlsErrors());
}

// What a listener speaks, for the callback. Owned by the context (ex data).
struct Alpn {
  std::string name;
  bool needed = false;
};

int ChooseAlpn(SSL*, const unsigned char** out, unsigned char* out_bytes, const unsigned char* offered,
               unsigned int offered_bytes, void* from) {
  const auto* alpn = static_cast<const Alpn*>(from);
  std::string own(1, static_cast<char>(alpn->name.size()));
  own += alpn->name;
  // Points into `offered` where there is an overlap.
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_bytes, reinterpret_cast<const unsigned char*>(own.data()),
                            static_cast<unsigned int>(own.size()), offered,
                            offered_bytes) != OPENSSL_NPN_NEGOTIATED) {
    return alpn->needed ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
  }
  *out = reinterpret_cast<const unsigned char*>(alpn->name.data());  // as long-lived as the context
  return SSL_TLSEXT_ERR_OK;
}

void FreeAlpn(void*, void* pointer, CRYPTO_EX_DATA*, int, long, void*) {
  const std::unique_ptr<Alpn> owned(static_cast<Alpn*>(pointer));
}

int AlpnIndex() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, &FreeAlpn);
  return index;
}

Status LoadClientCa(SSL_CTX* context, const TlsFiles& files) {
  if (files.client_ca.empty()) {
    if (!files.require_client_certificate) return Status::Ok();
    return InvalidInput("TLS: require_client_certificate needs client_ca, the file of who may issue them");
  }
  if (SSL_CTX_load_verify_locations(context, files.client_ca.c_str(), nullptr) != 1) {
    return BadFile("client_ca", files.client_ca);
  }
  SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(files.client_ca.c_str()));
  const int mode =
      files.require_client_certificate ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER;
  SSL_CTX_set_verify(context, mode, nullptr);
  return Status::Ok();
}

}  // namespace

std::string TlsErrors() {
  std::string text;
  while (const unsigned long error = ERR_get_error()) {
    std::array<char, 256> line{};
    ERR_error_string_n(error, line.data(), line.size());
    if (text.size() < 1000) text.append(text.empty() ? "" : "; ").append(line.data());
  }
  return text.empty() ? "no reason was given" : text;
}

Result<SslContext> MakeTlsContext(const TlsFiles& files, std::string_view alpn, bool alpn_needed) {
  ERR_clear_error();
  SslContext context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return Unavailable("TLS: no memory is left: " + TlsErrors());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Of TLS 1.2 only what RFC 9113 leaves: ephemeral keys and authenticated encryption.
  SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  static constexpr std::string_view kSessionId = "falaj";
  SSL_CTX_set_session_id_context(context.get(), reinterpret_cast<const unsigned char*>(kSessionId.data()),
                                 static_cast<unsigned int>(kSessionId.size()));
  if (SSL_CTX_use_certificate_chain_file(context.get(), files.certificate.c_str()) != 1) {
    return BadFile("certificate", files.certificate);
  }
  const X509* const certificate = SSL_CTX_get0_certificate(context.get());
  if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
    return InvalidInput("TLS: certificate '" + files.certificate + "' has expired");
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return BadFile("key", files.key);
  }
  if (SSL_CTX_check_private_key(context.get()) != 1) {
    return InvalidInput("TLS: key '" + files.key + "' does not belong to certificate '" + files.certificate +
                        "'");
  }
  FALAJ_RETURN_IF_ERROR(LoadClientCa(context.get(), files));
  auto told = std::make_unique<Alpn>(Alpn{std::string(alpn), alpn_needed});
  SSL_CTX_set_alpn_select_cb(context.get(), &ChooseAlpn, told.get());
  if (SSL_CTX_set_ex_data(context.get(), AlpnIndex(), told.get()) == 1) static_cast<void>(told.release());
  return context;
}

Result<std::shared_ptr<TlsContexts>> TlsContexts::Make(TlsFiles files, std::string alpn, bool alpn_needed) {
  auto context = MakeTlsContext(files, alpn, alpn_needed);
  if (!context.ok()) return context.status();
  return std::shared_ptr<TlsContexts>(
      new TlsContexts(std::move(files), std::move(alpn), alpn_needed, std::move(*context)));
}

SslHandle TlsContexts::NewConnection() {
  MutexLock lock(mu_);
  return SslHandle(SSL_new(context_.get()));  // which keeps the context for as long as it lives
}

void TlsContexts::Use(SslContext context) {
  MutexLock lock(mu_);
  context_.swap(context);
}

}  // namespace falaj::wire

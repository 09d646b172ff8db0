// Certificates and what they are served with, by OpenSSL.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "core/mutex.h"
#include "core/status.h"

namespace falaj::wire {

struct TlsFiles {
  std::string certificate;  // PEM: the server's, then those that lead to its issuer
  std::string key;          // PEM
  std::string client_ca;    // PEM: who may issue clients' certificates; empty: none are asked for
  bool require_client_certificate = false;
};

struct SslContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslContextDeleter>;
using SslHandle = std::unique_ptr<SSL, SslDeleter>;

// TLS 1.2 and later, as a server, speaking `alpn` ("h2", "http/1.1") where the client offers it;
// `alpn_needed`: a client that offers other protocols only is refused. Fails with InvalidInput, naming the
// file and what is wrong with it.
Result<SslContext> MakeTlsContext(const TlsFiles& files, std::string_view alpn, bool alpn_needed);

// The context of one listener. Thread-safe. New connections use the files as they were read last.
class TlsContexts {
 public:
  static Result<std::shared_ptr<TlsContexts>> Make(TlsFiles files, std::string alpn, bool alpn_needed);

  // A connection's own, or nothing where memory is out.
  SslHandle NewConnection() EXCLUDES(mu_);
  // The files read again, for Use; where they are bad, says why.
  Result<SslContext> Read() const { return MakeTlsContext(files_, alpn_, alpn_needed_); }
  void Use(SslContext context) EXCLUDES(mu_);

 private:
  TlsContexts(TlsFiles files, std::string alpn, bool alpn_needed, SslContext context)
      : files_(std::move(files)),
        alpn_(std::move(alpn)),
        alpn_needed_(alpn_needed),
        context_(std::move(context)) {}

  const TlsFiles files_;
  const std::string alpn_;
  const bool alpn_needed_;
  Mutex mu_;
  SslContext context_ GUARDED_BY(mu_);
};

// What OpenSSL last complained of on this thread; its queue is then empty.
std::string TlsErrors();

}  // namespace falaj::wire

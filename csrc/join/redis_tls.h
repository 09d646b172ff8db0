// TLS as a client, by OpenSSL.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "core/status.h"
#include "join/redis_options.h"

namespace falaj {

struct TlsContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct TlsDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using TlsContext = std::unique_ptr<SSL_CTX, TlsContextDeleter>;
using TlsHandle = std::unique_ptr<SSL, TlsDeleter>;

// TLS 1.2 and later; the server must prove itself. Fails with InvalidInput, naming the file and what is wrong
// with it.
Result<TlsContext> MakeTlsClient(const RedisOptions& options);

// A connection to `host`, a name or a number, which the server's certificate must be for. Sans-IO: its bytes
// go through memory. Nothing where memory is out.
TlsHandle NewTlsConnection(SSL_CTX* context, const std::string& host, bool numeric);

// What OpenSSL last complained of on this thread, and of the server's certificate; its queue is then empty.
std::string TlsComplaint(const SSL* ssl);

}  // namespace falaj

// TLS as a client, by OpenSSL, on a socket.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "core/status.h"

namespace falaj::load {

struct TlsContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct TlsDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using TlsContext = std::unique_ptr<SSL_CTX, TlsContextDeleter>;
using TlsHandle = std::unique_ptr<SSL, TlsDeleter>;

// TLS 1.2 and later; the server must prove itself, to the authorities of `ca_file` or, where that is empty,
// of this machine. `http2`: that is what is asked for by ALPN. Fails with InvalidInput, naming the file.
Result<TlsContext> MakeTlsContext(const std::string& ca_file, bool http2);

// A connection to `host`, a name or a number, which the server's certificate must be for, on a socket that
// outlives it. Writing to it may raise SIGPIPE: the threads that do have it blocked. Nothing where memory is
// out.
TlsHandle NewTls(SSL_CTX* context, const std::string& host, int socket);

// What OpenSSL last complained of on this thread, and of the server's certificate; its queue is then empty.
std::string TlsComplaint(const SSL* ssl);

}  // namespace falaj::load

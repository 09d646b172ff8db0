#include "wire/tls_protocol.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>

namespace falaj::wire {
namespace {

constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kRecord = 16 * 1024;      // the most that a TLS record carries
constexpr size_t kEncrypted = 256 * 1024;  // ahead of the socket

std::string SubjectOf(const SSL* ssl) {
  const X509* const certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) return "";
  const std::unique_ptr<BIO, decltype(&BIO_free)> text(BIO_new(BIO_s_mem()), &BIO_free);
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(text.get(), &data);
  return bytes > 0 ? std::string(data, static_cast<size_t>(bytes)) : "";
}

}  // namespace

TlsProtocol::TlsProtocol(Host& host, WireCounters& counters, SslHandle ssl, MakeInner make_inner)
    : host_(host),
      counters_(counters),
      ssl_(std::move(ssl)),
      make_inner_(std::move(make_inner)),
      began_(host.Now()),
      last_wrote_(began_) {
  BIO* const read = BIO_new(BIO_s_mem());
  BIO* const write = BIO_new(BIO_s_mem());
  if (ssl_ == nullptr || read == nullptr || write == nullptr) {
    BIO_free(read);
    BIO_free(write);
    closing_ = true;
    return;
  }
  SSL_set_bio(ssl_.get(), read, write);  // which owns them from here on
  SSL_set_accept_state(ssl_.get());
}

TlsProtocol::~TlsProtocol() = default;

bool TlsProtocol::WantsInput() const {
  if (closing_ || input_ended_) return false;
  // What came is decrypted only as the inner protocol wants it, so it must want it before more is taken.
  return in_.size() < kReadBytes && (inner_ == nullptr || inner_->WantsInput());
}

std::span<std::byte> TlsProtocol::InputRoom() {
  if (!in_.MakeRoom(kReadBytes)) return {};
  return in_.Room().first(kReadBytes);
}

void TlsProtocol::Received(size_t bytes) {
  in_.Append(bytes);
  if (inner_ == nullptr) Handshake();
  if (inner_ != nullptr) Decrypt();
}

void TlsProtocol::Handshake() {
  const int taken = BIO_write(SSL_get_rbio(ssl_.get()), in_.view().data(), static_cast<int>(in_.size()));
  if (taken > 0) in_.Consume(static_cast<size_t>(taken));
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    inner_ = make_inner_(SubjectOf(ssl_.get()));
  } else if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) {
    counters_.Refuse(Refusal::kTls);
    Fail();
  }
}

// What came goes to OpenSSL, and from there into the inner protocol, for as long as that wants it.
void TlsProtocol::Decrypt() {
  while (!closing_ && inner_->WantsInput() && !inner_->Finished()) {
    if (!in_.empty() && BIO_pending(SSL_get_rbio(ssl_.get())) < static_cast<int>(kRecord)) {
      const int taken = BIO_write(SSL_get_rbio(ssl_.get()), in_.view().data(), static_cast<int>(in_.size()));
      if (taken > 0) in_.Consume(static_cast<size_t>(taken));
    }
    const std::span<std::byte> room = inner_->InputRoom();
    ERR_clear_error();
    const int got =
        SSL_read(ssl_.get(), room.data(), static_cast<int>(std::min<size_t>(room.size(), INT32_MAX)));
    if (got > 0) {
      inner_->Received(static_cast<size_t>(got));
      continue;
    }
    const int error = SSL_get_error(ssl_.get(), got);
    if (error == SSL_ERROR_WANT_READ) {
      if (in_.empty()) break;
    } else if (error == SSL_ERROR_ZERO_RETURN) {
      input_ended_ = true;  // close_notify
      break;
    } else {
      counters_.Refuse(Refusal::kMalformed);
      return Fail();
    }
  }
  if (in_.empty()) in_.Free();
  if (input_ended_ && !told_inner_ended_) {
    told_inner_ended_ = true;
    inner_->InputEnded();
  }
}

void TlsProtocol::InputEnded() {
  input_ended_ = true;
  if (inner_ == nullptr) {
    closing_ = true;
  } else {
    Decrypt();
  }
}

// Appends what OpenSSL has put out. False: no memory.
bool TlsProtocol::MoveOut() {
  BIO* const write = SSL_get_wbio(ssl_.get());
  while (const auto pending = static_cast<size_t>(BIO_pending(write))) {
    if (!out_.MakeRoom(pending)) return false;
    const int got = BIO_read(write, out_.Room().data(), static_cast<int>(pending));
    if (got <= 0) break;
    out_.Append(static_cast<size_t>(got));
  }
  return true;
}

void TlsProtocol::Encrypt() {
  while (inner_ != nullptr && !closing_ && out_.size() < kEncrypted) {
    std::array<iovec, 16> pieces;
    const size_t count = inner_->Output(pieces);
    if (count == 0) break;
    size_t wrote = 0;
    for (size_t i = 0; i < count && out_.size() < kEncrypted; ++i) {
      size_t done = 0;
      while (done < pieces[i].iov_len && out_.size() < kEncrypted) {
        const size_t bytes = std::min(kRecord, pieces[i].iov_len - done);
        ERR_clear_error();
        const int put =
            SSL_write(ssl_.get(), static_cast<char*>(pieces[i].iov_base) + done, static_cast<int>(bytes));
        if (put <= 0 || !MoveOut()) return Fail();
        done += static_cast<size_t>(put);
      }
      wrote += done;
      if (done < pieces[i].iov_len) break;
    }
    inner_->Wrote(wrote);
  }
  if (inner_ != nullptr && inner_->Finished() && !closing_ && out_.size() < kEncrypted) {
    SSL_shutdown(ssl_.get());  // says close_notify; that of the client is not waited for
    closing_ = true;
  }
  static_cast<void>(MoveOut());
}

size_t TlsProtocol::Output(std::span<iovec> pieces) {
  if (ssl_ == nullptr) return 0;
  if (out_.empty()) {
    last_wrote_ = host_.Now();
    Encrypt();
  }
  if (out_.empty()) {
    out_.Free();
    return 0;
  }
  // iovec has no place for const.
  pieces[0] = {const_cast<char*>(out_.view().data()), out_.size()};
  return 1;
}

void TlsProtocol::Wrote(size_t bytes) {
  last_wrote_ = host_.Now();
  out_.Consume(bytes);
  // An answer that was taken may let the inner protocol read on.
  if (out_.empty() && HasInput()) Decrypt();
}

// Whether something came that the inner protocol has not seen.
bool TlsProtocol::HasInput() const {
  return inner_ != nullptr &&
         (!in_.empty() || BIO_pending(SSL_get_rbio(ssl_.get())) > 0 || SSL_has_pending(ssl_.get()) == 1);
}

bool TlsProtocol::Finished() const {
  return closing_ && out_.empty() && (ssl_ == nullptr || BIO_pending(SSL_get_wbio(ssl_.get())) == 0);
}

void TlsProtocol::Fail() {
  static_cast<void>(MoveOut());  // the alert
  ERR_clear_error();
  closing_ = true;
}

void TlsProtocol::Tick() {
  if (!out_.empty() && host_.Now() - last_wrote_ > host_.options().http.write_timeout) {
    // The inner protocol takes for written what was encrypted, so it cannot know.
    counters_.Refuse(Refusal::kWriteTimeout);
    out_.Free();
    Fail();
    out_.Free();
    return;
  }
  if (inner_ == nullptr) {
    if (closing_ || host_.Now() - began_ <= host_.options().http.header_timeout) return;
    counters_.Refuse(Refusal::kTls);
    closing_ = true;
    return;
  }
  inner_->Tick();
  if (HasInput()) Decrypt();
}

void TlsProtocol::Drain() {
  if (inner_ != nullptr) {
    inner_->Drain();
  } else {
    closing_ = true;
  }
}

}  // namespace falaj::wire

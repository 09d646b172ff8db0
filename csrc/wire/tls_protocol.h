// TLS around another protocol, sans-IO like it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "wire/byte_buffer.h"
#include "wire/host.h"
#include "wire/protocol.h"
#include "wire/tls_context.h"

namespace falaj::wire {

// Decrypts what comes into the inner protocol's room and encrypts what it puts out. The inner protocol is
// made when the handshake is done, and told whom the client proved to be. See Protocol for who calls it.
// Bounds: at most kEncrypted bytes are encrypted ahead of the socket; nothing is decrypted that the inner
// protocol does not want.
class TlsProtocol final : public Protocol {
 public:
  // Makes the inner protocol for a client whose certificate has this subject ("": it showed none).
  using MakeInner = std::function<std::unique_ptr<Protocol>(std::string certificate_subject)>;

  TlsProtocol(Host& host, WireCounters& counters, SslHandle ssl, MakeInner make_inner);
  ~TlsProtocol() override;

  std::span<std::byte> InputRoom() override;
  void Received(size_t bytes) override;
  bool WantsInput() const override;
  void InputEnded() override;
  size_t Output(std::span<iovec> pieces) override;
  void Wrote(size_t bytes) override;
  bool Finished() const override;
  void Tick() override;
  void Drain() override;

 private:
  void Handshake();
  void Decrypt();
  void Encrypt();
  void Fail();
  bool MoveOut();
  bool HasInput() const;

  Host& host_;
  WireCounters& counters_;
  const SslHandle ssl_;  // owns both ends of its memory
  const MakeInner make_inner_;
  std::unique_ptr<Protocol> inner_;  // once the handshake is done
  ByteBuffer in_;                    // encrypted, not yet given to OpenSSL
  ByteBuffer out_;                   // encrypted, not yet written
  const TimePoint began_;
  TimePoint last_wrote_;
  bool input_ended_ = false;
  bool told_inner_ended_ = false;
  bool closing_ = false;  // close_notify was sent, or the connection failed
};

}  // namespace falaj::wire

// One connection's protocol as bytes in and bytes out.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/mutex.h"

namespace falaj::wire {

// Who is at the other end. Constant while the connection lasts.
struct Peer {
  std::string address;  // "192.0.2.7", "2001:db8::1", or "unix"
  uint16_t port = 0;
  bool tls = false;
  std::string certificate_subject;  // of a client certificate that was verified; empty: none
};

// The connection that carries a protocol, as the protocol sees it. Owned by the I/O thread.
class Carrier {
 public:
  virtual ~Carrier() = default;
  // Output is there that was made outside of Received (an answer came): have it written.
  virtual void OutputReady() = 0;
  // WantsInput() became true outside of Received and Wrote: read again.
  virtual void InputWanted() = 0;
};

// Called by one I/O thread only. The carrier's contract:
//   while WantsInput(): read into InputRoom(), then Received(n);
//   after each Received, Tick and OutputReady: Output() -> write -> Wrote(n) until Output gives nothing;
//   then, where Finished(): close. On a connection that broke, or a timeout: the protocol is destroyed at any
//   time outside of its own calls; what is then in flight is cancelled by the destructor.
class Protocol {
 public:
  virtual ~Protocol() = default;

  // Where the next bytes go; not empty while WantsInput(). Valid until the next call.
  virtual std::span<std::byte> InputRoom() = 0;
  // The first `bytes` of InputRoom were written. May be re-entered by nothing.
  virtual void Received(size_t bytes) = 0;
  // False: backpressure. The carrier stops reading until InputWanted().
  virtual bool WantsInput() const = 0;
  // The client will send no more (a half-close): answer what it asked, then finish.
  virtual void InputEnded() = 0;

  // Fills `pieces` with what is to be written next, in order; returns how many were filled; 0: nothing now.
  // The memory holds until Wrote, which says how much of it was taken.
  virtual size_t Output(std::span<iovec> pieces) = 0;
  virtual void Wrote(size_t bytes) = 0;
  // Nothing is under way and nothing more will come: close once Output gives nothing.
  virtual bool Finished() const = 0;

  // Called every `kTickInterval` or so, for timeouts; may make output or finish.
  static constexpr Nanos kTickInterval = std::chrono::milliseconds(250);
  virtual void Tick() = 0;
  // The server will stop soon. It still serves everything, but a client of before may be told to connect
  // anew, which takes it elsewhere where there is an elsewhere (HTTP/2: GOAWAY; HTTP: each answer tells it).
  virtual void EndAnnounced() {}
  // The server is stopping: finish what is under way, take no more (HTTP: Connection: close; HTTP/2: GOAWAY).
  virtual void Drain() = 0;
};

}  // namespace falaj::wire

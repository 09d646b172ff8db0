// Where a server listens, and connections to it.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "core/file_descriptor.h"
#include "core/status.h"

namespace falaj::load {

struct Address {
  sockaddr_storage bytes{};
  socklen_t length = 0;
};

// The first that the name resolves to and that takes a connection, else the first: `localhost` is two
// addresses where many servers listen on one. Blocks. Fails with Unavailable where the name is none.
Result<Address> Resolve(const std::string& host, uint16_t port);

// A non-blocking socket, without Nagle's delay, on its way to being connected; where it is not valid, errno
// says why.
FileDescriptor BeginConnecting(const Address& address);

}  // namespace falaj::load

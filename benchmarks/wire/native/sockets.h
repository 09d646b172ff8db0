// Listening sockets, non-blocking.
#pragma once

#include <cstdint>
#include <string>

#include "core/file_descriptor.h"

namespace falaj::bench {

// A listening socket of its own on a port that others may listen on too (SO_REUSEPORT): one a thread. Port 0
// picks a free one and says which. Ends the program where it cannot be had.
FileDescriptor ListenOn(const std::string& host, uint16_t& port);
// A connection that waits to be accepted, non-blocking and without Nagle's delay; not valid: there is none.
FileDescriptor AcceptFrom(const FileDescriptor& listener);

}  // namespace falaj::bench

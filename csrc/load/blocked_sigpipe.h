// OpenSSL writes to sockets as to files: where the peer is gone, that raises a signal that ends the process.
#pragma once

#include <pthread.h>

#include <csignal>

namespace falaj::load {

// From here to the end of the thread, which is one of ours: the signal stays pending and ends with it.
struct BlockedSigpipe {
  BlockedSigpipe() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }
};

}  // namespace falaj::load

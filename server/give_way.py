"""Loading a model beside threads that answer requests in the same interpreter."""

import time

# Long enough for a thread that waits for the GIL to wake and take it.
_PAUSE = 50e-6


def give_way() -> None:
    """Let the threads that wait for the GIL have it.

    CPython hands the GIL over only where its holder waits, or after 5 ms: a call into the kernel that ends in
    a microsecond takes it back before anyone has woken. Loading calls this between its pieces, so that a
    request waits for one of them at most.
    """
    time.sleep(_PAUSE)

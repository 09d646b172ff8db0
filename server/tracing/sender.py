"""Exports what the core has recorded, on a thread of its own."""

import logging
import threading
import time
from dataclasses import dataclass

from falaj import _core
from falaj.server.tracing.exporter import LibraryLog, Outlet

_log = logging.getLogger("falaj.tracing")

# Between two exports at most; the core has this thread take what it has earlier where that is much.
_SECONDS = 1.0
# Of the spans of one export. Collectors take 4 MiB by gRPC.
_MOST_BYTES = 3 << 20
# At the end: for an export that is under way, then for the last ones.
_END_SECONDS = 5.0


@dataclass(frozen=True)
class TraceCounts:
    """Sampled requests since the start.

    Attributes:
        recorded: All.
        full: Of them, those that the export was too slow for.
        exported: Those that the collector took.
        failed: Those that it did not take in time.
    """

    recorded: int
    full: int
    exported: int
    failed: int


class TraceSender:
    """Takes from the core and gives to the exporter until it is closed. Thread-safe.

    What waits is in the core's rings, which are bounded: a collector that is slow or away costs requests
    nothing but their spans, which are counted.
    """

    def __init__(self, tracing: _core.Tracing, outlet: Outlet) -> None:
        self._tracing = tracing
        self._outlet = outlet
        self._lock = threading.Lock()
        self._exported = 0  # guarded by _lock, as the next
        self._failed = 0
        self._fails = False  # the thread's
        self._library = LibraryLog()
        self._library.attach()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="falaj-trace", daemon=True)
        self._thread.start()

    def counts(self) -> TraceCounts:
        """Return what has been done."""
        core = self._tracing.counts()
        with self._lock:
            return TraceCounts(core["recorded"], core["dropped"], self._exported, self._failed)

    def close(self) -> None:
        """Export what is left, for some seconds at most. To be called when nothing is served any more."""
        self._ended.set()
        self._tracing.wake()
        self._thread.join(_END_SECONDS)
        try:
            self._outlet.exporter.shutdown()
        except Exception as error:  # a library's; there is nothing left to be done
            _log.warning("the exporter of traces did not end well: %s", error)
        self._thread.join(_END_SECONDS)
        self._library.detach()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._drain(_SECONDS, until=None)
        self._drain(0, until=time.monotonic() + _END_SECONDS)

    def _drain(self, wait: float, *, until: float | None) -> None:
        """Export until nothing is left, having waited for something."""
        more = True
        while more and (until is None or time.monotonic() < until):
            requests, more, spans = self._tracing.take(wait, _MOST_BYTES)
            wait = 0
            if requests > 0:
                self._export(requests, spans)

    def _export(self, requests: int, spans: bytes) -> None:
        try:
            taken = self._outlet.exporter.export(self._outlet.envelopes.around(spans))
            why = self._library.last
        except Exception as error:  # a library's: no error of it may end the thread
            taken, why = False, f"{type(error).__name__}: {error}"
        with self._lock:
            if taken:
                self._exported += requests
            else:
                self._failed += requests
        if taken is self._fails:  # it is now otherwise than before
            self._fails = not taken
            if taken:
                _log.info("traces are exported again")
            else:
                _log.warning("traces are lost, the collector does not take them: %s", why)

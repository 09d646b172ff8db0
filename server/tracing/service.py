"""The tracing of one server: its settings, and the export."""

import socket

from falaj import _core
from falaj.server.ops.tracing import Tracing
from falaj.server.tracing.exporter import Outlet
from falaj.server.tracing.sender import TraceCounts, TraceSender
from falaj.server.tracing.trace_settings import TraceSettings

_WILDCARDS = ("0.0.0.0", "::")


class TraceService:
    """Made where tracing is enabled; closed when the server has ended. Thread-safe.

    Attributes:
        settings: What the protocol's trace extension reads and changes.
    """

    def __init__(self, runtime: _core.Runtime, settings: Tracing, outlet: Outlet) -> None:
        self._tracing = _core.Tracing(runtime)
        self.settings = TraceSettings(
            self._tracing,
            on=settings.level == "timestamps",
            rate=settings.rate,
            parent_based=settings.parent_based,
        )
        self._sender = TraceSender(self._tracing, outlet)

    def describe(self, host: str, http_port: int, grpc_port: int) -> None:
        """Say where the server listens, for its spans; port 0: not there."""
        name = socket.gethostname() if host in _WILDCARDS else host
        self._tracing.describe(name, http_port, grpc_port)

    def counts(self) -> TraceCounts:
        """Return what has been recorded and exported."""
        return self._sender.counts()

    def close(self) -> None:
        """Export what is left, for some seconds at most."""
        self._sender.close()

"""Chooses how spans leave, and has OpenTelemetry's packages imported only then."""

import logging
from dataclasses import dataclass
from typing import Protocol

from falaj.server.errors import ConfigError
from falaj.server.ops.tracing import Tracing


class Exporter(Protocol):
    """Sends spans to a collector."""

    def export(self, request: bytes) -> bool:
        """Send an ExportTraceServiceRequest; return whether it was taken. Blocks for timeout_seconds at most,
        or thereabouts."""

    def shutdown(self) -> None:
        """Try again no more, from now on. From any thread."""


class Envelopes(Protocol):
    """Makes requests of spans."""

    def around(self, spans: bytes) -> bytes:
        """Return an ExportTraceServiceRequest."""


@dataclass(frozen=True)
class Outlet:
    """The way out for spans."""

    exporter: Exporter
    envelopes: Envelopes


def open_outlet(settings: Tracing) -> Outlet:
    """Return the way to the collector. Raises ConfigError: a package or a file is missing."""
    try:
        from falaj.server.tracing.envelope import Envelope

        if settings.protocol == "grpc":
            from falaj.server.tracing.grpc_exporter import GrpcExporter

            return Outlet(GrpcExporter(settings), Envelope(settings.resource_pairs()))
        from falaj.server.tracing.http_exporter import HttpExporter

        return Outlet(HttpExporter(settings), Envelope(settings.resource_pairs()))
    except ImportError as error:
        raise ConfigError(
            f"no package {error.name}, which exports spans: pip install 'falaj[tracing]'",
            key="tracing.enabled",
        ) from error


class LibraryLog(logging.Handler):
    """What OpenTelemetry's packages log, among the server's own lines, and only where those are verbose: the
    server says itself that spans are lost, once. Without it they would go to standard error.

    Attributes:
        last: The last line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self._logger = logging.getLogger("opentelemetry")

    def attach(self) -> None:
        """Begin to take the lines."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def detach(self) -> None:
        """Leave the logger as it was found."""
        self._logger.removeHandler(self)
        self._logger.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()
        logging.getLogger("falaj.tracing.library").debug("%s", self.last)

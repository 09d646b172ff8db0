"""OTLP by HTTP: OpenTelemetry's exporter, given what is encoded already."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from falaj.server.errors import ConfigError
from falaj.server.ops.tracing import Tracing

_PATH = "/v1/traces"


class _Session(requests.Session):
    """One whose authorities, once they were given, are not those of REQUESTS_CA_BUNDLE."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        chosen = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, chosen, cert)


class HttpExporter:
    """Sends requests of encoded spans; retries are OpenTelemetry's. One thread's, but for `shutdown`."""

    def __init__(self, settings: Tracing) -> None:
        self._exporter = OTLPSpanExporter(
            endpoint=_with_path(settings.endpoint),
            certificate_file=settings.ca_file,
            headers=settings.header_pairs() or None,
            timeout=settings.timeout_seconds,
            session=_Session(),
        )
        # Its way in takes spans of the SDK, and hands this their bytes.
        self._send: Callable[[bytes], Any] | None = getattr(
            getattr(self._exporter, "_client", None), "export", None
        )
        if self._send is None:
            raise ConfigError(
                "this version of opentelemetry-exporter-otlp-proto-http is not known: expected 1.45 or "
                "newer, or tracing.protocol 'grpc'",
                key="tracing.protocol",
            )

    def export(self, request: bytes) -> bool:
        """Send an ExportTraceServiceRequest; return whether it was taken."""
        assert self._send is not None
        return bool(self._send(request).success)

    def shutdown(self) -> None:
        """Try again no more, from now on."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _with_path(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    return parts._replace(path=_PATH).geturl() if parts.path in ("", "/") else endpoint

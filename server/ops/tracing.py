"""The table [tracing] of `falaj.toml`."""

from collections.abc import Sequence
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from falaj.server.errors import ConfigError
from falaj.server.ops.section import Bounds, Section


class Tracing(Section, frozen=True):
    """Which requests are traced, and where their spans go. Where `endpoint`, `headers` or `ca_file` are not
    set, OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT and the like) are asked."""

    enabled: bool = False
    """Whether requests can be traced. Default: false. Needs the packages of `falaj[tracing]`."""
    level: Literal["off", "timestamps"] = "timestamps"
    """What is traced from the start on; `off`: nothing until /v2/trace/setting says so.
    Default: timestamps."""
    rate: int = 1000
    """One request of so many is traced, of those whose client has not decided. Default: 1000. Set it to 1
    where few are asked."""
    parent_based: bool = True
    """Whether a client's decision (the flag of its `traceparent`) is followed. Default: true. Set it to false
    where clients are strangers."""
    protocol: Literal["http/protobuf", "grpc"] = "http/protobuf"
    """How spans are exported. Default: http/protobuf."""
    endpoint: str | None = None
    """URL of the collector. Default: OpenTelemetry's, http://localhost:4318, or :4317 by gRPC. By HTTP the
    path /v1/traces is added where there is none."""
    headers: tuple[str, ...] = ()
    """`NAME=VALUE`, sent with each export. Default: none. Set them where the collector asks for a token."""
    resource: tuple[str, ...] = ()
    """`NAME=VALUE`, what describes this server in each export. Default: service.name=falaj."""
    ca_file: str | None = None
    """Path of a PEM file: the authorities of a collector that is asked by https. Default: the system's."""
    timeout_seconds: float = 10.0
    """Seconds that one export may take, trying again included. Default: 10."""

    BOUNDS: ClassVar[Bounds] = {"rate": (1, 2**32 - 1), "timeout_seconds": (0.1, 3600)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ca_file == "":
            raise ConfigError("expected the path of a PEM file, got ''", key="ca_file")
        if self.endpoint is not None:
            parts = urlsplit(self.endpoint)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(
                    f"expected a URL that begins with http:// or https://, got '{self.endpoint}'",
                    key="endpoint",
                )
        for key in ("headers", "resource"):
            _require_pairs(key, getattr(self, key))

    def header_pairs(self) -> dict[str, str]:
        """Return the headers by their names."""
        return _pairs(self.headers)

    def resource_pairs(self) -> dict[str, str]:
        """Return the attributes of the resource."""
        return _pairs(self.resource)


def _require_pairs(key: str, texts: Sequence[str]) -> None:
    for index, text in enumerate(texts):
        name, equals, _ = text.partition("=")
        if not equals or not name.strip():
            # Not the text itself, which may be a secret.
            raise ConfigError("expected NAME=VALUE", key=f"{key}[{index}]")


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    split = (text.partition("=") for text in texts)
    return {name.strip(): value.strip() for name, _, value in split}

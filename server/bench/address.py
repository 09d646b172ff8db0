"""Where a V2 server listens, from its URL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from falaj._core import InvalidInput
from falaj.server.bench.marked import Place

_SCHEMES = {
    "http": ("http", False),
    "https": ("http", True),
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A protocol, http or grpc, with TLS or without, and where. `path` comes before HTTP's own."""

    protocol: str
    tls: bool
    host: str
    port: int
    path: str = ""

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read a URL. Raises InvalidInput."""
        expected = f"expected http://, https://, grpc:// or grpcs:// and host:port, got '{url}'"
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError as error:
            raise InvalidInput(expected) from error
        if parts.scheme not in _SCHEMES or not parts.hostname or not port or parts.query or parts.fragment:
            raise InvalidInput(expected)
        protocol, tls = _SCHEMES[parts.scheme]
        path = quote(parts.path.rstrip("/"), safe="/%")
        if protocol == "grpc" and path:
            raise InvalidInput(f"{expected}: gRPC has no path")
        return cls(protocol, tls, parts.hostname, port, path)

    def native(
        self,
        method: str,
        path: str,
        requests: Sequence[tuple[list[tuple[str, str]], bytes, tuple[Place, ...]]],
        *,
        headers: tuple[tuple[str, str], ...] = (),
        ca_file: str | None = None,
    ) -> dict[str, Any]:
        """Return what the core asks: see `LoadRun` of falaj/_core.pyi."""
        lower = self.protocol == "grpc"  # as HTTP/2 wants names
        return {
            "protocol": self.protocol,
            "host": self.host,
            "port": self.port,
            "tls": self.tls,
            "ca_file": ca_file or "",
            "method": method,
            "path": self.path + path,
            "headers": [(name.lower() if lower else name, value) for name, value in headers],
            "requests": list(requests),
        }

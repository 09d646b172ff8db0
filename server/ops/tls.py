"""The table [tls] of `falaj.toml`."""

from typing import Any

import msgspec

from falaj.server.errors import ConfigError
from falaj.server.ops.section import Section


class Tls(Section, frozen=True):
    """Where a listener's certificate and key are, and whose clients' certificates it trusts. Without a
    certificate there is no TLS."""

    certificate: str | None = None
    """Path of a PEM file: the server's certificate, then those that sign it. Default: none, no TLS."""
    key: str | None = None
    """Path of the PEM file of its private key; belongs to `certificate`. Default: none."""
    client_ca: str | None = None
    """Path of a PEM file: the authorities whose client certificates are trusted. Default: none, clients are
    asked for no certificate. Set it to know clients by their certificates."""
    require_client_certificate: bool = False
    """Whether a client without a certificate of `client_ca` is turned away. Default: false."""

    def __post_init__(self) -> None:
        for key in ("certificate", "key", "client_ca"):
            if getattr(self, key) == "":
                raise ConfigError("expected the path of a PEM file, got ''", key=key)
        if self.certificate is None:
            extra = next((k for k in ("key", "client_ca") if getattr(self, k) is not None), None)
            extra = extra or ("require_client_certificate" if self.require_client_certificate else None)
            if extra is not None:
                raise ConfigError("expected a certificate beside it", key=extra)
        elif self.key is None:
            raise ConfigError("is missing; a certificate needs its key", key="key")
        if self.require_client_certificate and self.client_ca is None:
            raise ConfigError("expected client_ca beside it", key="require_client_certificate")

    def wire_tls(self) -> dict[str, Any] | None:
        """Return what WireServer.listen takes, None without TLS."""
        return None if self.certificate is None else msgspec.structs.asdict(self)

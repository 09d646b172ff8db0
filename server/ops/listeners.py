"""Opens the listeners that the settings name."""

import socket
from typing import Any

from falaj import _core
from falaj.server.ops.settings import Settings


def open_listeners(wire: _core.WireServer, settings: Settings) -> dict[str, int | str]:
    """Have the wire server listen; return where: the ports of http, grpc and metrics, the path of unix.

    Raises Unavailable: an address is in use, or not this machine's.
    """
    server = settings.server
    opened: dict[str, int | str] = {}
    listeners: tuple[tuple[str, Any, str, int], ...] = (
        ("http", "http", server.host, server.http_port),
        ("grpc", "grpc", server.host, server.grpc_port),
        ("metrics", "admin", settings.admin.host or server.host, server.metrics_port),
    )
    for name, kind, host, port in listeners:
        if port >= 0:
            _require_free(host, port)
            opened[name] = wire.listen(kind, host, port, settings.listener_tls(kind))
    if server.unix_socket is not None:
        wire.listen("http", f"unix:{server.unix_socket}", 0, None)
        opened["unix"] = server.unix_socket
    return opened


def _require_free(host: str, port: int) -> None:
    """The wire server's sockets share their port among its threads, and would as well with another server of
    the same user, which would then get half of the connections."""
    if port == 0:
        return
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise _core.Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from error

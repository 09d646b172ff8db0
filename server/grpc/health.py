"""grpc.health.v1 over a control plane."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from falaj import _core
from falaj.server.api.control_plane import ControlPlane
from falaj.server.grpc.schema import message

_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_SERVICES = ("", "inference.GRPCInferenceService")
# Seconds between looks at what a watcher was told. Readiness has no event of its own: it also ends when a
# batch has taken too long, or a folder went bad.
_LOOK = 0.5


class Health:
    """The server as a whole (""), and its inference service, are as ready as the server says it is."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def check(self, asked: Any) -> bytes:
        """Answer Check. Raises NotFound for another service."""
        if asked.service not in _SERVICES:
            raise _core.NotFound(f"service '{asked.service}' is not known")
        return _told(self._status(asked.service))

    def list(self) -> bytes:
        """Answer List."""
        answer: Any = message("grpc.health.v1.HealthListResponse")()
        for service in _SERVICES:
            answer.statuses[service].status = self._status(service)
        return bytes(answer.SerializeToString())

    async def watch(self, asked: Any) -> AsyncIterator[bytes]:
        """Answer Watch: the state now, and each change within a second, until the client leaves."""
        last = 0
        while True:
            now = self._status(asked.service)
            if now != last:
                yield _told(now)
            last = now
            await asyncio.sleep(_LOOK)

    def _status(self, service: str) -> int:
        if service not in _SERVICES:
            return _SERVICE_UNKNOWN
        return _SERVING if self._control.why_not_ready() is None else _NOT_SERVING


def _told(status: int) -> bytes:
    answer: Any = message("grpc.health.v1.HealthCheckResponse")()
    answer.status = status
    return bytes(answer.SerializeToString())

"""grpc.health.v1 over a control plane."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from falaj import _core
from falaj.server.api.control_plane import ControlPlane
from falaj.server.grpc.schema import message

_SERVING, _NOT_SERVING, _UNKNOWN = 1, 2, 3
_SERVICES = ("", "inference.GRPCInferenceService")
_LOOK = 0.5  # seconds between looks at whether what a watcher was told still holds


class Health:
    """The server as a whole (""), and its inference service, are as ready as the server says it is."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def check(self, asked: Any) -> bytes:
        """Answer Check. Raises NotFound for another service."""
        if asked.service not in _SERVICES:
            raise _core.NotFound(f"service '{asked.service}' is not known")
        return self._told(asked.service)

    def list(self) -> bytes:
        """Answer List."""
        answer: Any = message("grpc.health.v1.HealthListResponse")()
        for service in _SERVICES:
            answer.statuses[service].status = self._status(service)
        return bytes(answer.SerializeToString())

    async def watch(self, asked: Any) -> AsyncIterator[bytes]:
        """Answer Watch: the state now, and each change, until the client leaves."""
        last = 0
        while True:
            now = self._status(asked.service)
            if now != last:
                yield self._told(asked.service)
            last = now
            await asyncio.sleep(_LOOK)

    def _status(self, service: str) -> int:
        if service not in _SERVICES:
            return _UNKNOWN
        return _SERVING if self._control.why_not_ready() is None else _NOT_SERVING

    def _told(self, service: str) -> bytes:
        answer: Any = message("grpc.health.v1.HealthCheckResponse")()
        answer.status = self._status(service)
        return bytes(answer.SerializeToString())

"""Routes on the path as it was sent: a model's name may hold a percent-encoded slash."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from falaj.server.api.errors import error_response

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One method of one path, and what the OpenAPI document says of it."""

    method: str
    path: str  # "/v2/models/{model}/infer"; a parameter is any text without a slash
    endpoint: Endpoint
    summary: str
    request: str = ""  # name of the request body's schema; empty: there is none
    response: str = ""  # name of the answer's schema; empty: it is not JSON


class RawRoute(BaseRoute):
    """All operations of one path."""

    def __init__(self, path: str, operations: list[Operation]) -> None:
        self.path = path
        self._operations = {operation.method: operation for operation in operations}
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", re.sub(r"([.])", r"\\\1", path))
        self._pattern = re.compile(pattern.encode() + b"/?" if path == "/v2" else pattern.encode())

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the raw path; the parameters are decoded."""
        if scope["type"] != "http":
            return Match.NONE, {}
        raw = scope.get("raw_path") or scope["path"].encode()
        found = self._pattern.fullmatch(raw.partition(b"?")[0])
        if found is None:
            return Match.NONE, {}
        parameters = {
            name: unquote(value.decode("latin-1"), encoding="utf-8", errors="replace")
            for name, value in found.groupdict().items()
        }
        return Match.FULL, {"path_params": parameters}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the operation of the request's method."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = self._operations.get(method)
        if operation is None:
            allowed = ", ".join(sorted(self._operations))
            response = error_response(
                405, f"{scope['method']} is not allowed here; expected {allowed}", {"allow": allowed}
            )
        else:
            response = await operation.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def routes_of(operations: list[Operation]) -> list[BaseRoute]:
    """Return one route for each path."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return [RawRoute(path, found) for path, found in by_path.items()]

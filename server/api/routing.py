"""Routes on the path as it was sent: a model's name may hold a percent-encoded slash."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from falaj import _core
from falaj.server.api.errors import error_response

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One method of one path, and what the OpenAPI document says of it."""

    method: str
    path: str
    """Such as "/v2/models/{model}/infer"; a parameter is any text without a slash."""
    endpoint: Endpoint
    summary: str
    tag: str = "Inference"
    request: Any = None
    """Type of the request's JSON; None: there is no body."""
    response: Any = None
    """Type of the answer's JSON; None: it is not JSON, or empty."""
    failures: tuple[int, ...] = ()
    """Statuses that it answers with besides those that any operation may."""
    binary: bool = False
    """Whether tensors may follow the JSON, both ways."""
    changes: bool = False
    """Whether it changes the server: pages of other sites must not have a browser do that."""


class RawRoute(BaseRoute):
    """All operations of one path."""

    def __init__(self, path: str, operations: list[Operation]) -> None:
        self.path = path
        self._operations = {operation.method: operation for operation in operations}
        fixed = [re.escape(part) for part in re.split(r"\{\w+\}", path)]
        names = re.findall(r"\{(\w+)\}", path)
        pattern = "".join(
            piece
            for pair in zip(fixed, [*(f"(?P<{n}>[^/]+)" for n in names), ""], strict=True)
            for piece in pair
        )
        self._pattern = re.compile((pattern + "/?" if path == "/v2" else pattern).encode())

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the raw path; the parameters stay as they were sent."""
        if scope["type"] != "http":
            return Match.NONE, {}
        found = self._pattern.fullmatch(raw_path(scope))
        return (Match.NONE, {}) if found is None else (Match.FULL, {"path_params": found.groupdict()})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the operation of the request's method."""
        request = Request(scope, receive, send)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = self._operations.get(method)
        if operation is None:
            allowed = self._allowed()
            text = f"{scope['method']} is not allowed here; expected {' or '.join(allowed)}"
            response = error_response(405, text, {"allow": ", ".join(allowed)})
        elif operation.changes and _is_from_another_site(request):
            response = error_response(403, "pages of other sites may not change this server")
        else:
            scope["path_params"] = {key: _decoded(value) for key, value in scope["path_params"].items()}
            response = await operation.endpoint(request)
        await response(scope, receive, send)

    def _allowed(self) -> list[str]:
        methods = set(self._operations)
        return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def raw_path(scope: Scope) -> bytes:
    """Return the path as it was sent, without the prefix that the app is mounted under."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    root = quote(scope.get("root_path", "")).encode()
    raw = raw.partition(b"?")[0]
    return raw[len(root) :] if root and raw.startswith(root + b"/") else raw


def routes_of(operations: list[Operation]) -> list[BaseRoute]:
    """Return one route for each path."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return [RawRoute(path, found) for path, found in by_path.items()]


def _decoded(value: bytes) -> str:
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        shown = value.decode("latin-1")
        raise _core.InvalidInput(f"'{shown}' in the path is not UTF-8 when decoded") from error


def _is_from_another_site(request: Request) -> bool:
    """Browsers say where a page that posts came from, and no page can keep them from it."""
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")

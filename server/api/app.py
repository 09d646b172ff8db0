"""The ASGI apps: the protocol's endpoints, and administration."""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from falaj import _core
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.errors import error_response, json_response, status_of
from falaj.server.api.infer import HttpInferCalls
from falaj.server.api.openapi import document
from falaj.server.api.operations import Operations
from falaj.server.api.pages import api_page, models_page
from falaj.server.api.routing import Operation, routes_of

_MAX_BODY_BYTES = 1 << 30
_TAG = "Administration"


def make_app(
    control: ControlPlane, infer: HttpInferCalls | None, *, max_body_bytes: int = _MAX_BODY_BYTES
) -> Starlette:
    """Return the app of the protocol's HTTP endpoints, for any ASGI server.

    Args:
        control: what they ask.
        infer: answers infer requests; None where a native listener has answered them before they come here.
        max_body_bytes: bodies above this are refused, as sent and decompressed.
    """
    operations = Operations(control, infer, max_body_bytes).table()
    return _make(operations + _documentation(operations, control))


def make_admin_app(control: ControlPlane, metrics: Callable[[str], tuple[bytes, str]]) -> Starlette:
    """Return the app of the administration port, which changes nothing.

    `metrics` renders the page for an Accept header: its bytes and content type.
    """

    async def metrics_page(request: Request) -> Response:
        body, content_type = metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def models(_request: Request) -> Response:
        rows = await asyncio.to_thread(control.index, False)
        return models_page(rows, control.why_not_ready())

    operations = [
        *Operations(control, None, 0).health(),
        Operation("GET", "/metrics", metrics_page, "Metrics for Prometheus", _TAG),
        Operation("GET", "/ui", models, "Models and their states, for people", _TAG),
    ]
    return _make(operations + _documentation(operations, control))


def _documentation(operations: list[Operation], control: ControlPlane) -> list[Operation]:
    async def as_json(_request: Request) -> Response:
        return json_response(document(described, control.server_metadata()["version"]))

    async def as_page(_request: Request) -> Response:
        return api_page(described)

    own = [
        Operation("GET", "/openapi.json", as_json, "This description as OpenAPI", _TAG, None, dict),
        Operation("GET", "/docs", as_page, "This description for people", _TAG),
    ]
    described = operations + own
    return own


def _make(operations: list[Operation]) -> Starlette:
    app = Starlette(
        routes=routes_of(operations),
        exception_handlers={_core.Error: _failed, HTTPException: _refused, Exception: _broken},
    )
    app.router.redirect_slashes = False  # a path with a slash more is another path
    return app


async def _failed(_request: Request, error: Exception) -> Response:
    return error_response(status_of(error), str(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = error.detail if error.status_code != 404 else f"there is nothing at {request.scope['path']}"
    return error_response(error.status_code, text, dict(error.headers or {}))


async def _broken(_request: Request, error: Exception) -> Response:
    """Starlette raises the error once more after this answer, and whoever runs the app logs it."""
    return error_response(500, f"internal error: {type(error).__name__}")

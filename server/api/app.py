"""The ASGI apps: the protocol's endpoints, and administration."""

import asyncio
import html
import logging
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from falaj import _core
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.errors import error_response, json_response, status_of
from falaj.server.api.infer import HttpInferCalls
from falaj.server.api.openapi import document, page
from falaj.server.api.operations import Operations
from falaj.server.api.routing import Operation, routes_of

_log = logging.getLogger("falaj.api")


def make_app(control: ControlPlane, infer: HttpInferCalls | None) -> Starlette:
    """Return the app of the protocol's HTTP endpoints.

    `infer` answers infer requests; None where a native listener has answered them before they come here.
    """
    operations = Operations(control, infer).table()
    return _make(control, operations + _documentation(operations, control))


def make_admin_app(control: ControlPlane, metrics: Callable[[str], tuple[bytes, str]]) -> Starlette:
    """Return the app of the administration port. `metrics` renders the page for an Accept header, on any
    thread: its bytes and content type."""
    served = Operations(control, None)

    async def metrics_page(request: Request) -> Response:
        body, content_type = await asyncio.to_thread(metrics, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def models_page(_request: Request) -> Response:
        return HTMLResponse(_models_html(control))

    operations = [
        *(op for op in served.table() if not op.path.endswith("/infer")),
        Operation("GET", "/metrics", metrics_page, "Metrics for Prometheus"),
        Operation("GET", "/ui", models_page, "Models and their states, for people"),
    ]
    return _make(control, operations + _documentation(operations, control))


def _make(control: ControlPlane, operations: list[Operation]) -> Starlette:
    async def failed(request: Request, error: Exception) -> Response:
        return error_response(status_of(error), _text_of(control, request, error))

    async def not_routed(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return error_response(
            error.status_code, "there is nothing here" if error.status_code == 404 else error.detail
        )

    async def broken(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(500, f"internal error: {type(error).__name__}")

    return Starlette(
        routes=routes_of(operations),
        exception_handlers={_core.Error: failed, HTTPException: not_routed, Exception: broken},
    )


def _text_of(control: ControlPlane, request: Request, error: Exception) -> str:
    model = request.path_params.get("model")
    if not control.triton_compat or not isinstance(error, _core.NotFound) or model is None:
        return str(error)
    version = request.path_params.get("version")
    named = f"'{model}'" if version is None else f"'{model}' version {version}"
    return f"Request for unknown model: {named} is not found"


def _documentation(operations: list[Operation], control: ControlPlane) -> list[Operation]:
    async def as_json(_request: Request) -> Response:
        return json_response(document(operations, control.server_metadata()["version"]))

    async def as_page(_request: Request) -> Response:
        return HTMLResponse(page(operations))

    return [
        Operation("GET", "/openapi.json", as_json, "This description as OpenAPI"),
        Operation("GET", "/docs", as_page, "This description for people"),
    ]


def _models_html(control: ControlPlane) -> str:
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(row[key])}</td>" for key in ("name", "version", "state", "reason"))
        + "</tr>"
        for row in control.index(ready=False)
    )
    why_not = control.why_not_ready()
    state = "ready" if why_not is None else f"not ready: {html.escape(why_not)}"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Falaj</title>"
        "<style>body{font:16px system-ui;margin:2em}td,th{padding:.3em 1em;text-align:left}</style>"
        f"<h1>Falaj</h1><p>The server is {state}.</p>"
        f"<table><tr><th>Model<th>Version<th>State<th>Reason</tr>{rows}</table>"
        "<p><a href=/metrics>Metrics</a> · <a href=/docs>API</a></p></html>"
    )

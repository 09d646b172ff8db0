"""Paths are routed as they were sent, and what is wrong with a request is said in the protocol's form."""

import asyncio
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.errors import json_response
from falaj.server.api.routing import Operation, routes_of
from tests.server.asking import Asking, ask_raw, error_of

pytestmark = pytest.mark.core

_CHECKS = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _telling(path: str) -> Operation:
    async def tell(request: Request) -> Response:
        return json_response({"route": path, **request.path_params})

    return Operation("GET", path, tell, "")


_PATHS = ("/v2/models/stats", "/v2/models/{model}", "/v2/models/{model}/versions/{version}", "/v2/a.b")
_ROUTES = Starlette(routes=routes_of([_telling(path) for path in _PATHS]))


def _routed(raw: bytes) -> tuple[int, object]:
    return asyncio.run(ask_raw(_ROUTES, raw))


@_CHECKS
@given(st.text(min_size=1))
def test_name_reaches_its_operation_when_encoded_however_it_is_called(name: str) -> None:
    try:
        raw = quote(name, safe="").encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    if name in (".", "..") or raw == b"stats":
        return
    assert _routed(b"/v2/models/" + raw) == (200, {"route": "/v2/models/{model}", "model": name})
    versioned = _routed(b"/v2/models/" + raw + b"/versions/" + raw)
    assert versioned == (200, {"route": _PATHS[2], "model": name, "version": name})


@_CHECKS
@given(st.binary(min_size=1))
def test_name_is_found_missing_or_refused_when_it_is_any_bytes(ask: Asking, name: bytes) -> None:
    status, told = ask.runner.run(ask_raw(_app_of(ask), b"/v2/models/" + quote_from_bytes(name, "").encode()))
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        assert (status, "UTF-8" in told["error"]) == (400, True)
        return
    assert status == (200 if text in ("stats", "mlp") else 404)
    if status == 404:
        assert f"'{text}'" in told["error"]


def _app_of(ask: Asking) -> Starlette:
    app: Starlette = ask.client._transport.app  # type: ignore[attr-defined]
    return app


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/v2/models/stats", 200),
        (b"/v2/a.b", 200),
        (b"/v2/aXb", 404),
        (b"/v2/models/", 404),
        (b"/v2/models//versions/1", 404),
        (b"/v2/models/m/", 404),
        (b"/v2/models/m/versions/", 404),
        (b"/v2/models/m/versions/1/2", 404),
        (b"//v2/models/m", 404),
        (b"/V2/models/m", 404),
        (b"/v2/models%2Fm", 404),
        (b"", 404),
        (b"*", 404),
    ],
)
def test_path_is_matched_whole_when_routed(path: bytes, status: int) -> None:
    assert asyncio.run(ask_raw(_NO_BODY, path))[0] == status


async def _empty(_request: Request) -> Response:
    return Response()


_NO_BODY = Starlette(
    routes=routes_of([Operation("GET", path, _empty, "") for path in _PATHS]),
    exception_handlers={404: lambda _request, _error: Response(status_code=404)},
)


def test_encoded_slash_stays_in_the_name_when_routed() -> None:
    assert _routed(b"/v2/models/a%2Fversions%2F1") == (
        200,
        {"route": "/v2/models/{model}", "model": "a/versions/1"},
    )
    assert _routed(b"/v2/models/%73tats") == (200, {"route": "/v2/models/{model}", "model": "stats"})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET, HEAD"),
        ("DELETE", "/v2/models/mlp", "GET, HEAD"),
        ("GET", "/v2/models/mlp/infer", "POST"),
        ("GET", "/v2/repository/index", "POST"),
        ("PUT", "/v2/logging", "GET, HEAD, POST"),
        ("OPTIONS", "/v2/health/live", "GET, HEAD"),
        ("BREW", "/docs", "GET, HEAD"),
    ],
)
def test_method_is_refused_with_those_allowed_when_it_is_wrong(
    ask: Asking, method: str, path: str, allowed: str
) -> None:
    response = ask(method, path)
    assert method in error_of(response, 405)
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/v1/models/m:predict", "/v2/nope", "/v2/models/mlp/generated", "/ui"])
def test_path_is_not_found_when_there_is_nothing(ask: Asking, path: str) -> None:
    assert path in error_of(ask("GET", path), 404)


@pytest.mark.parametrize("host", ["[", "a b", "", "x:99999999"])
def test_answer_is_the_same_when_the_host_is_nonsense(ask: Asking, host: str) -> None:
    assert ask("GET", "/v2/health/live", headers={"host": host}).status_code == 200
    error_of(ask("GET", "/nope", headers={"host": host}), 404)
    error_of(ask("GET", "/v2/trace/setting", headers={"host": host}), 501)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 404),
        ("http://falaj.test", 404),
        ("https://falaj.test", 404),
        ("http://elsewhere.test", 403),
        ("http://falaj.test:81", 403),
        ("null", 403),
        ("", 403),
        ("http://[", 403),
    ],
)
def test_change_is_forbidden_when_a_page_of_another_site_asks(
    ask: Asking, origin: str | None, status: int
) -> None:
    headers = {} if origin is None else {"origin": origin}
    error_of(ask("POST", "/v2/repository/models/nope/load", headers=headers), status)
    error_of(ask("POST", "/v2/repository/models/nope/unload", headers=headers), status)
    assert ask("GET", "/v2", headers=headers).status_code == 200


def test_app_answers_when_it_is_mounted_under_a_prefix(control: ControlPlane) -> None:
    outer = Starlette(routes=[Mount("/inner app", app=make_app(control, None))])
    with Asking(outer) as ask:
        assert ask("GET", "/inner%20app/v2/models/mlp").status_code == 200
        assert ask("GET", "/inner%20app/v2/models/a%2Fb").status_code == 404
        assert "'a/b'" in ask("GET", "/inner%20app/v2/models/a%2Fb").json()["error"]


def test_path_is_encoded_anew_when_the_server_gives_no_raw_one(control: ControlPlane) -> None:
    app = make_app(control, None)
    told = asyncio.run(ask_raw(app, b"", path="/v2/models/name with % and ü"))
    assert told[0] == 200

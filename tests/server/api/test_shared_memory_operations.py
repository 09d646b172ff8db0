"""The control plane's side of system shared memory: what is registered, told and refused."""

import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import falaj
from falaj import _core
from falaj.server.api import shapes
from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from tests.server.asking import Asking, error_of
from tests.wire.shared_file import PREFIX, SharedFile

pytestmark = pytest.mark.core

_STATUS = "/v2/systemsharedmemory/status"


@pytest.fixture
def ask(engine: falaj.Engine) -> Iterator[Asking]:
    control = ControlPlane(
        engine, shared_memory=_core.SharedMemory([PREFIX], [os.getuid()], 2, 1 << 20, 1 << 20, False)
    )
    with Asking(make_app(control, None)) as ask:
        yield ask
    control.close()


def _register(ask: Asking, name: str, body: object) -> Any:
    return ask("POST", f"/v2/systemsharedmemory/region/{name}/register", body)


def test_region_is_told_when_it_was_registered(ask: Asking) -> None:
    assert "system_shared_memory" in ask("GET", "/v2").json()["extensions"]
    assert ask("GET", _STATUS).json() == []
    with SharedFile(100) as file:
        assert _register(ask, "a%2Fb", {"key": file.key, "byte_size": 60, "offset": 40}).status_code == 200
        assert _register(ask, "c", {"key": file.key, "byte_size": 100}).status_code == 200
        first = {"name": "a/b", "key": file.key, "offset": 40, "byte_size": 60}
        told = ask("GET", _STATUS).json()
        assert told[0] == first
        msgspec.convert(told, list[shapes.RegionStatus])
        assert ask("GET", "/v2/systemsharedmemory/region/a%2Fb/status").json() == [first]
        assert "already in manager" in error_of(_register(ask, "c", {"key": file.key, "byte_size": 1}), 400)
        assert "max_regions" in error_of(_register(ask, "d", {"key": file.key, "byte_size": 1}), 503)
        assert ask("POST", "/v2/systemsharedmemory/region/a%2Fb/unregister", {}).status_code == 200
        assert "'a/b'" in error_of(ask("GET", "/v2/systemsharedmemory/region/a%2Fb/status"), 400)
        assert ask("POST", "/v2/systemsharedmemory/unregister").status_code == 200
        assert ask("GET", _STATUS).json() == []


@pytest.mark.parametrize(
    "body",
    [
        {}, {"key": "/x"}, {"byte_size": 1}, {"key": 1, "byte_size": 1}, {"key": "/x", "byte_size": "1"},
        {"key": "/x", "byte_size": -1}, {"key": "/x", "byte_size": 2**63}, {"key": "/x", "byte_size": 1.5},
        {"key": "/x", "byte_size": 1, "offset": -1}, {"key": "/x", "byte_size": 1, "more": 1}, [], b"{",
    ],
    ids=str,
)  # fmt: skip
def test_registering_is_refused_when_the_body_is_wrong(ask: Asking, body: object) -> None:
    assert "the request's body" in error_of(_register(ask, "r", body), 400)


def test_registering_is_refused_when_the_region_has_no_name(ask: Asking) -> None:
    body = {"key": f"/{PREFIX}x", "byte_size": 1}
    assert "name" in error_of(ask("POST", "/v2/systemsharedmemory/register", body), 400)


def test_changes_are_refused_when_a_page_of_another_site_asks(ask: Asking) -> None:
    headers = {"origin": "http://elsewhere.example"}
    for path in ("region/r/register", "region/r/unregister", "unregister"):
        error_of(ask("POST", f"/v2/systemsharedmemory/{path}", {}, headers=headers), 403)


def test_every_operation_is_unsupported_when_it_is_not_allowed(engine: falaj.Engine) -> None:
    with Asking(make_app(ControlPlane(engine), None)) as ask:
        for method, path in (
            ("GET", "status"), ("GET", "region/r/status"), ("POST", "region/r/register"),
            ("POST", "region/r/unregister"), ("POST", "unregister"),
        ):  # fmt: skip
            text = error_of(ask(method, f"/v2/systemsharedmemory/{path}"), 501)
            assert "--allow-shared-memory" in text
        assert "system_shared_memory" not in ask("GET", "/v2").json()["extensions"]

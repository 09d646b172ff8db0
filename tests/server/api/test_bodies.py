"""Bodies are held to their shapes, bounded, and decompressed."""

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from tests.server.asking import Asking, error_of

pytestmark = pytest.mark.core

_INDEX = "/v2/repository/index"
_LOAD = "/v2/repository/models/nope/load"
_CHECKS = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@_CHECKS
@given(st.binary())
def test_body_is_refused_when_it_is_no_json(ask: Asking, body: bytes) -> None:
    try:
        json.loads(body)
        return
    except ValueError:
        if not body.strip():
            return
    error_of(ask("POST", _INDEX, body), 400)


@_CHECKS
@given(_JSON)
def test_body_is_taken_or_refused_when_it_is_any_json(ask: Asking, body: Any) -> None:
    text = json.dumps(body).encode("utf-8", "surrogatepass")
    for path in (_INDEX, _LOAD, "/v2/repository/models/nope/unload"):
        fits = body == {} or (path == _INDEX and body in ({"ready": True}, {"ready": False}))
        fits = fits or (path != _INDEX and body == {"parameters": {}})
        response = ask("POST", path, text)
        if not fits:
            error_of(response, 400)
        else:
            assert response.status_code == (200 if path == _INDEX else 404)


@pytest.mark.parametrize("body", [b"", b"  \r\n", b"{}", b'{"ready": false}', b'{"ready":true}'])
def test_body_is_taken_when_it_may_be_empty(ask: Asking, body: bytes) -> None:
    assert ask("POST", _INDEX, body).status_code == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"ready": "yes"}', "Expected `bool`, got `str` - at `$.ready`"),
        (b'{"raedy": true}', "unknown field `raedy`"),
        (b"[" * 100_000, "Expected `object`"),
        (b'{"ready": true', "not JSON"),
        (b'{"ready": true} x', "not JSON"),
        (b'{"\xff": 1}', "not JSON"),
        (b"null", "Expected `object`"),
    ],
)
def test_error_says_what_is_wrong_when_a_body_is_refused(ask: Asking, body: bytes, text: str) -> None:
    assert text in error_of(ask("POST", _INDEX, body), 400)


def test_body_is_refused_when_it_is_nested_without_end(ask: Asking) -> None:
    assert "not JSON" in error_of(ask("POST", "/v2/logging", b'{"log_info":' + b"[" * 100_000), 400)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP ", "deflate", "identity", ""])
def test_body_is_decompressed_when_encoded(ask: Asking, encoding: str) -> None:
    plain = b'{"ready": true}'
    encode = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.strip().lower(), bytes)
    headers = {"content-encoding": encoding}
    all_rows = ask("POST", _INDEX).json()
    rows = ask("POST", _INDEX, encode(plain), headers=headers)
    assert rows.json() == [row for row in all_rows if row["state"] == "READY"]
    assert len(rows.json()) < len(all_rows)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"{}"),
        ("gzip", gzip.compress(b"{}")[:-3]),
        ("gzip", gzip.compress(b"{}") + b"x"),
        ("deflate", gzip.compress(b"{}")),
    ],
    ids=["plain", "cut", "longer", "other"],
)
def test_body_is_refused_when_it_is_not_encoded_as_it_says(ask: Asking, encoding: str, body: bytes) -> None:
    text = error_of(ask("POST", _INDEX, body, headers={"content-encoding": encoding}), 400)
    assert f"not valid {encoding}" in text


def test_encoding_is_unsupported_when_it_is_unknown(ask: Asking) -> None:
    response = ask("POST", _INDEX, b"{}", headers={"content-encoding": "br"})
    assert "'br'" in error_of(response, 501)
    assert response.headers["accept-encoding"] == "gzip, deflate"


def test_body_is_too_large_when_above_the_bound_as_sent_or_decompressed(control: ControlPlane) -> None:
    with Asking(make_app(control, None, max_body_bytes=1000)) as ask:
        fits = b'{"ready": true}' + b" " * 985
        assert ask("POST", _INDEX, fits).status_code == 200
        assert "1000 bytes" in error_of(ask("POST", _INDEX, fits + b" "), 413)
        headers = {"content-encoding": "gzip"}
        assert ask("POST", _INDEX, gzip.compress(fits), headers=headers).status_code == 200
        assert "decompressed" in error_of(
            ask("POST", _INDEX, gzip.compress(fits + b" "), headers=headers), 413
        )
        bomb = zlib.compress(b" " * 50_000_000)[:900]
        error_of(ask("POST", _INDEX, bomb, headers={"content-encoding": "deflate"}), 413)

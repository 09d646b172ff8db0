"""Whatever is asked, Falaj's own listener and the app under another server of ASGI answer it alike.

The rest of the suite compares the two in what it asks; here requests are right ones that were damaged.
`mirrored` does the comparing: every header field that is not a connection's own, and each byte of the body.
"""

import gzip
import json
import zlib
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.exchange import Http
from tests.conformance.repository import IDENTITY
from tests.conformance.tensors import LENGTH_FIELD, binary_request, blob, described, in_json

pytestmark = pytest.mark.falaj_only("it is Falaj that answers in two ways")

DAMAGED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_TYPES = ("BOOL", "INT8", "UINT64", "FP16", "FP32", "FP64", "BYTES")
_NUMBERS = np.array([[0, 1], [1, 0]])
_STATUSES = {200, 400, 404, 405, 413, 415, 501}
# Of JSON, in places where something else belongs.
_PIECES = [
    b"null",
    b"-1",
    b"1e400",
    b"0.1",
    b'"x"',
    b"[]",
    b"{}",
    b"[[1],[2,3]]",
    b"\\u0000",
    b"\xff",
    b",",
    b'"',
]
_SEGMENTS = [
    *("v2", "models", "fixed", "versions", "1", "9", "ready", "config", "stats", "infer", "health", "live"),
    *("repository", "index", "logging", "trace", "setting", "systemsharedmemory", "status", ""),
]


def _array(datatype: str) -> np.ndarray:
    if datatype == "BYTES":
        return np.array([[b"a", b"bc"], [b"", b"\xc3\xa9"]], np.object_)
    return _NUMBERS.astype(
        {"BOOL": bool, "INT8": "i1", "UINT64": "u8", "FP16": "f2", "FP32": "f4", "FP64": "f8"}[datatype]
    )


def _json(datatype: str) -> bytes:
    tensor = in_json("x", datatype, _array(datatype), parameters={"a": 1})
    return json.dumps({"id": "1", "inputs": [tensor], "outputs": [{"name": "y"}]}).encode()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A body of which some pieces are gone, doubled, or others."""
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(whole)))
        end = draw(st.integers(start, min(len(whole), start + 8)))
        new = draw(st.sampled_from(_PIECES) | st.binary(max_size=4) | st.just(whole[start:end] * 2))
        whole = whole[:start] + new + whole[end:]
    return whole


@DAMAGED
@given(datatype=st.sampled_from(_TYPES), data=st.data())
def test_both_paths_answer_alike_when_json_is_damaged(http: Http, datatype: str, data: st.DataObject) -> None:
    body = data.draw(damaged(_json(datatype)))
    assert http.post(f"/v2/models/{IDENTITY[datatype]}/infer", body).status in _STATUSES


@DAMAGED
@given(datatype=st.sampled_from(_TYPES), data=st.data())
def test_both_paths_answer_alike_when_a_binary_request_is_damaged(
    http: Http, datatype: str, data: st.DataObject
) -> None:
    x = _array(datatype)
    inputs = [described("x", datatype, x.shape, parameters={"binary_data_size": len(blob(x))})]
    binary = {"binary_data_output": data.draw(st.booleans())}
    body, fields = binary_request({"inputs": inputs, "parameters": binary}, blob(x))
    length = int(fields[LENGTH_FIELD])
    told = data.draw(
        st.sampled_from([str(length), "0", "", "-1", "x", str(length + 1), str(len(body) + 1), "9" * 30])
    )
    body = data.draw(damaged(body))
    assert (
        http.post(f"/v2/models/{IDENTITY[datatype]}/infer", body, {**fields, LENGTH_FIELD: told}).status
        in _STATUSES
    )


@DAMAGED
@given(data=st.data())
def test_both_paths_answer_alike_when_an_encoding_is_damaged(http: Http, data: st.DataObject) -> None:
    encode = data.draw(st.sampled_from([gzip.compress, zlib.compress]))
    body = data.draw(damaged(encode(_json("FP32"))))
    field = data.draw(
        st.sampled_from(["gzip", "deflate", "GZIP", "x-gzip", "identity", "br", "gzip, deflate", ""])
    )
    accept = data.draw(st.sampled_from(["gzip", "deflate;q=0.5, gzip;q=0", "*", "br", ""]))
    headers = {"Content-Encoding": field, "Accept-Encoding": accept}
    assert http.post(f"/v2/models/{IDENTITY['FP32']}/infer", body, headers).status in _STATUSES


@DAMAGED
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    pieces=st.lists(
        st.sampled_from(_SEGMENTS) | st.text(max_size=3).map(lambda text: quote(text, safe="")),
        max_size=6,
    ),
)
def test_both_paths_answer_alike_when_a_path_is_any(http: Http, method: str, pieces: list[str]) -> None:
    assert http(method, "/" + "/".join(pieces), b"").status in _STATUSES | {422}

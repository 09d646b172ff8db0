"""Content-Encoding: gzip and deflate, both ways."""

import gzip
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from tests.conformance.exchange import Http
from tests.conformance.repository import IDENTITY
from tests.conformance.tensors import (
    LENGTH_FIELD,
    binary_answer,
    binary_request,
    blob,
    described,
    in_json,
)

Encode = Callable[[bytes], bytes]
ENCODINGS: dict[str, Encode] = {"gzip": gzip.compress, "deflate": zlib.compress}
MANY = np.arange(4096, dtype=np.int32).reshape(1, -1)  # large enough to be worth compressing
MODEL = IDENTITY["INT32"]


def raw_deflate(data: bytes) -> bytes:
    """Deflate without zlib's head and checksum."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_read_when_it_is_compressed(http: Http, encoding: str) -> None:
    """Content-Encoding: gzip | deflate (deflate = zlib) of a request."""
    body = ENCODINGS[encoding](b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"INT32","data":[1,2]}]}')
    (output,) = http.infer(MODEL, body, {"Content-Encoding": encoding}).json()["outputs"]
    assert output["data"] == [1, 2]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_header_counts_uncompressed_json_when_a_binary_request_is_compressed(
    http: Http, encoding: str
) -> None:
    """The header counts uncompressed JSON; Content-Length is the whole body as sent."""
    tensor = described("x", "INT32", MANY.shape, parameters={"binary_data_size": MANY.nbytes})
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    body, headers = binary_request(request, blob(MANY), encode=ENCODINGS[encoding])
    assert len(body) < MANY.nbytes
    answer = http.infer(MODEL, body, {**headers, "Content-Encoding": encoding})
    assert binary_answer(answer)[1] == [blob(MANY)]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_answer_is_compressed_when_the_client_takes_it(http: Http, encoding: str) -> None:
    """Content-Encoding of an answer, as the request's Accept-Encoding allows."""
    request = {"inputs": [in_json("x", "INT32", MANY)]}
    answer = http.infer(MODEL, request, {"Accept-Encoding": encoding})
    assert answer.header("content-encoding") == encoding
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.json()["outputs"][0]["data"] == MANY.reshape(-1).tolist()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_binary_answer_is_compressed_when_the_client_takes_it(http: Http, encoding: str) -> None:
    """The header of a compressed answer counts uncompressed JSON too."""
    request = {"inputs": [in_json("x", "INT32", MANY)], "parameters": {"binary_data_output": True}}
    answer = http.infer(MODEL, request, {"Accept-Encoding": encoding})
    assert answer.header("content-encoding") == encoding
    assert binary_answer(answer)[1] == [blob(MANY)]


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", "gzip;q=0, deflate;q=0", ""])
def test_answer_is_plain_when_the_client_takes_no_encoding_of_ours(http: Http, accepted: str) -> None:
    """An answer is compressed only as the client accepts."""
    answer = http.infer(MODEL, {"inputs": [in_json("x", "INT32", MANY)]}, {"Accept-Encoding": accepted})
    assert answer.header("content-encoding") is None
    assert answer.json()["outputs"][0]["data"] == MANY.reshape(-1).tolist()


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "nonsense"])
def test_request_is_501_when_its_encoding_is_not_supported(http: Http, encoding: str) -> None:
    """An unsupported encoding is 501 with Accept-Encoding: gzip, deflate."""
    answer = http.infer(MODEL, b"whatever", {"Content-Encoding": encoding})
    assert answer.error(501)
    assert answer.header("accept-encoding") == "gzip, deflate"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"{}"),
        ("gzip", b""),
        ("gzip", gzip.compress(b"{}" * 99)[:-1]),
        ("gzip", gzip.compress(b"{}") + b"x"),
        ("gzip", zlib.compress(b"{}")),
        ("deflate", gzip.compress(b"{}")),
        ("deflate", raw_deflate(b'{"inputs":[]}')),
        ("deflate", zlib.compress(b"{}")[:-1] + b"\x00"),
    ],
    ids=["plain", "empty", "cut", "trailing", "zlib-as-gzip", "gzip-as-deflate", "raw-deflate", "checksum"],
)
def test_request_is_refused_when_its_body_is_not_what_its_encoding_says(
    http: Http, encoding: str, body: bytes
) -> None:
    """deflate = zlib; what cannot be decompressed is a 400."""
    http.infer(MODEL, body, {"Content-Encoding": encoding}).error(400)


def test_request_is_refused_when_the_header_is_beyond_the_decompressed_body(http: Http) -> None:
    """A header out of range is 400: of the uncompressed bytes, not of those that were sent."""
    tensor = in_json("x", "INT32", MANY)
    body, headers = binary_request({"inputs": [tensor]}, encode=gzip.compress)
    fields = {**headers, "Content-Encoding": "gzip"}
    assert http.infer(MODEL, body, fields).status == 200  # and it is more than was sent
    assert int(headers[LENGTH_FIELD]) > len(body)
    too_many = str(int(headers[LENGTH_FIELD]) + 1)
    http.infer(MODEL, body, {**fields, LENGTH_FIELD: too_many}).error(400)

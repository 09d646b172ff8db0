"""Infer with binary tensors after the JSON, and the raw request that is only a tensor."""

import json
from typing import Any

import numpy as np
import pytest

from tests.conformance.exchange import Http
from tests.conformance.repository import IDENTITY
from tests.conformance.tensors import (
    LENGTH_FIELD,
    OCTETS,
    binary_answer,
    binary_request,
    blob,
    described,
    in_json,
    of_bytes,
)

LEFT, RIGHT = np.array([[5, 6, 7, 8]], np.int32), np.array([[1, 2, 3, 4]], np.int32)
SUM, DIFFERENCE = blob(LEFT + RIGHT), blob(LEFT - RIGHT)
RAW = {LENGTH_FIELD: "0", "Content-Type": OCTETS}


def sized(name: str, array: np.ndarray, datatype: str, **more: Any) -> dict[str, Any]:
    """An input whose data follow the JSON."""
    parameters = {"binary_data_size": len(blob(array)), **more}
    return described(name, datatype, array.shape, parameters=parameters)


def test_inputs_are_read_in_order_when_they_follow_the_json(http: Http) -> None:
    """Blobs follow the JSON in tensor order; header, Content-Length of the whole, octet-stream."""
    request = {"inputs": [sized("right", RIGHT, "INT32"), sized("left", LEFT, "INT32")]}
    body, headers = binary_request(request, blob(RIGHT), blob(LEFT))
    told = http.infer("add_sub", body, headers).json()
    assert {output["name"]: output["data"] for output in told["outputs"]} == {
        "sum": [6, 8, 10, 12],
        "difference": [4, 4, 4, 4],
    }


def test_json_and_binary_inputs_go_together_when_both_are_there(http: Http) -> None:
    """Only an input with binary_data_size has a blob."""
    request = {"inputs": [in_json("left", "INT32", LEFT), sized("right", RIGHT, "INT32")]}
    body, headers = binary_request(request, blob(RIGHT))
    assert http.infer("add_sub", body, headers).json()["outputs"][0]["data"] == [6, 8, 10, 12]


def test_blob_is_little_endian_and_unpadded_when_it_is_an_input(http: Http) -> None:
    """Little-endian, unpadded: three elements of two bytes are six bytes."""
    request = {
        "inputs": [described("x", "INT16", [1, 3], parameters={"binary_data_size": 6})],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }
    data = bytes([1, 0, 0, 1, 254, 255])
    body, headers = binary_request(request, data)
    answer = http.infer(IDENTITY["INT16"], body, headers)
    assert binary_answer(answer)[1] == [data]
    del request["outputs"]
    body, headers = binary_request(request, data)
    assert http.infer(IDENTITY["INT16"], body, headers).json()["outputs"][0]["data"] == [1, 256, -2]


def test_bool_is_one_byte_when_it_is_binary(http: Http) -> None:
    """BOOL is 1 byte."""
    request = {
        "inputs": [described("x", "BOOL", [1, 3], parameters={"binary_data_size": 3})],
        "parameters": {"binary_data_output": True},
    }
    body, headers = binary_request(request, b"\x01\x00\x01")
    assert binary_answer(http.infer(IDENTITY["BOOL"], body, headers))[1] == [b"\x01\x00\x01"]


def test_bytes_have_their_length_before_them_when_they_are_binary(http: Http) -> None:
    """BYTES is uint32 LE length + bytes per element: any bytes, none too."""
    data = b"\x02\x00\x00\x00\xff\x00" + b"\x00\x00\x00\x00" + b"\x03\x00\x00\x00abc"
    request = {
        "inputs": [described("x", "BYTES", [3, 1], parameters={"binary_data_size": len(data)})],
        "parameters": {"binary_data_output": True},
    }
    body, headers = binary_request(request, data)
    assert binary_answer(http.infer(IDENTITY["BYTES"], body, headers))[1] == [data]


def test_request_is_refused_when_bytes_are_no_text_and_json_is_wanted(http: Http) -> None:
    """BYTES in JSON are strings, so bytes that are no UTF-8 can only be answered in binary."""
    data = blob(of_bytes([b"\xff"], (1, 1)))
    request = {"inputs": [described("x", "BYTES", [1, 1], parameters={"binary_data_size": len(data)})]}
    body, headers = binary_request(request, data)
    assert "binary_data" in http.infer(IDENTITY["BYTES"], body, headers).error(400)


@pytest.mark.parametrize("whole", [None, False, True])
@pytest.mark.parametrize("own", [None, False, True])
def test_output_is_binary_when_it_or_else_the_request_says_so(
    http: Http, whole: bool | None, own: bool | None
) -> None:
    """binary_data of an output, binary_data_output of the request; the per-output value wins. The answer
    carries the header only when some output is binary."""
    request: dict[str, Any] = {"inputs": [in_json("left", "INT32", LEFT), in_json("right", "INT32", RIGHT)]}
    request["outputs"] = [{"name": "sum"}, {"name": "difference", "parameters": {"binary_data": False}}]
    if whole is not None:
        request["parameters"] = {"binary_data_output": whole}
    if own is not None:
        request["outputs"][0]["parameters"] = {"binary_data": own}
    answer = http.infer("add_sub", request)
    if own is True or (own is None and whole):
        told, blobs = binary_answer(answer)
        assert blobs == [SUM]
        assert told["outputs"][0]["parameters"] == {"binary_data_size": len(SUM)}
    else:
        assert answer.header(LENGTH_FIELD.lower()) is None
        told = answer.json()
        assert told["outputs"][0]["data"] == [6, 8, 10, 12]
    assert told["outputs"][1]["data"] == [4, 4, 4, 4]


def test_outputs_are_all_binary_when_only_the_request_says_so(http: Http) -> None:
    """binary_data_output counts for outputs that were not named either; their blobs come in tensor order."""
    request = {
        "inputs": [in_json("left", "INT32", LEFT), in_json("right", "INT32", RIGHT)],
        "parameters": {"binary_data_output": True},
    }
    told, blobs = binary_answer(http.infer("add_sub", request))
    assert [output["name"] for output in told["outputs"]] == ["sum", "difference"]
    assert blobs == [SUM, DIFFERENCE]


@pytest.mark.parametrize("value", [1, "true", None])
@pytest.mark.parametrize("where", ["output", "request"])
def test_request_is_refused_when_the_wish_for_binary_is_no_bool(
    http: Http, value: object, where: str
) -> None:
    """binary_data and binary_data_output are bools."""
    request: dict[str, Any] = {"inputs": [in_json("left", "INT32", LEFT), in_json("right", "INT32", RIGHT)]}
    if where == "output":
        request["outputs"] = [{"name": "sum", "parameters": {"binary_data": value}}]
    else:
        request["parameters"] = {"binary_data_output": value}
    http.infer("add_sub", request).error(400)


@pytest.mark.parametrize("size", [0, 15, 17, 32, 2**63, -1, 1.5, "16"])
def test_request_is_refused_when_a_binary_size_does_not_fit(http: Http, size: object) -> None:
    """binary_data_size is the bytes of the input's shape and data type, and they have to be there."""
    left = described("left", "INT32", [1, 4], parameters={"binary_data_size": size})
    body, headers = binary_request({"inputs": [left, in_json("right", "INT32", RIGHT)]}, blob(LEFT))
    http.infer("add_sub", body, headers).error(400)


@pytest.mark.parametrize("change", [-1, 1])
def test_request_is_refused_when_bytes_are_missing_or_left_over(http: Http, change: int) -> None:
    """The blobs are the rest of the body, neither more nor less."""
    request = {"inputs": [sized("left", LEFT, "INT32"), sized("right", RIGHT, "INT32")]}
    data = blob(LEFT) + blob(RIGHT)
    body, headers = binary_request(request, data[:change] if change < 0 else data + b"\x00")
    http.infer("add_sub", body, headers).error(400)


def test_request_is_refused_when_an_input_has_both_kinds_of_data(http: Http) -> None:
    """An input's data are in the JSON or behind it."""
    both = {**sized("left", LEFT, "INT32"), "data": [1, 2, 3, 4]}
    body, headers = binary_request({"inputs": [both, in_json("right", "INT32", RIGHT)]}, blob(LEFT))
    http.infer("add_sub", body, headers).error(400)


@pytest.mark.parametrize("data", [b"\x01\x00\x00", b"\x05\x00\x00\x00abc", b"\xff\xff\xff\xffabc"])
def test_request_is_refused_when_a_bytes_length_runs_over_the_end(http: Http, data: bytes) -> None:
    """Each element's length is within its blob."""
    request = {"inputs": [described("x", "BYTES", [1, 1], parameters={"binary_data_size": len(data)})]}
    body, headers = binary_request(request, data)
    http.infer(IDENTITY["BYTES"], body, headers).error(400)


@pytest.mark.parametrize("length", ["1000000", "-1", "1.5", "x", "", "99999999999999999999"])
def test_request_is_refused_when_the_header_is_out_of_range(http: Http, length: str) -> None:
    """A header out of range is 400."""
    body = json.dumps({"inputs": [in_json("left", "INT32", LEFT), in_json("right", "INT32", RIGHT)]}).encode()
    http.infer("add_sub", body, {LENGTH_FIELD: length, "Content-Type": OCTETS}).error(400)


def test_request_is_refused_when_the_header_cuts_the_json(http: Http) -> None:
    """The header is the bytes of JSON: a text that ends early is no JSON, whatever follows it."""
    request = {"inputs": [in_json("left", "INT32", LEFT), in_json("right", "INT32", RIGHT)]}
    body = json.dumps(request).encode()
    http.infer("add_sub", body, {LENGTH_FIELD: str(len(body) - 1)}).error(400)


def test_raw_request_is_one_row_when_the_model_batches(http: Http) -> None:
    """Header value 0: the body is the single input; batch 1; all outputs binary."""
    data = blob(np.arange(6, dtype=np.float32))
    told, blobs = binary_answer(http.infer("pairs", data, RAW))
    assert told["outputs"][0]["shape"] == [1, 3, 2]
    assert blobs == [data]


def test_raw_request_fills_the_shape_when_it_is_fixed(http: Http) -> None:
    """At most one variable dimension: none is fine."""
    told, blobs = binary_answer(http.infer("fixed", blob(np.array([1, 2, 3], np.float32)), RAW))
    assert told["outputs"][0]["shape"] == [3]
    assert blobs == [blob(np.array([2, 4, 6], np.float32))]


def test_raw_request_is_one_element_when_the_input_is_bytes(http: Http) -> None:
    """Raw request: BYTES shape [1]."""
    told, blobs = binary_answer(http.infer("words", b"any \xff text", RAW))
    assert told["outputs"][0]["shape"] == [1, 1]
    assert blobs == [blob(of_bytes([b"any \xff text"], (1, 1)))]


@pytest.mark.parametrize("size", [1, 4, 12, 0])
def test_raw_request_is_refused_when_its_size_does_not_fit(http: Http, size: int) -> None:
    """The body is whole elements that fill the shape; `fixed` has three of four bytes."""
    if size == 12:
        assert http.infer("fixed", bytes(size), RAW).status == 200
    else:
        http.infer("fixed", bytes(size), RAW).error(400)


@pytest.mark.parametrize("model", ["transpose", "add_sub"])
def test_raw_request_is_refused_when_it_cannot_say_enough(http: Http, model: str) -> None:
    """Raw request: a single input, at most one variable dimension."""
    http.infer(model, bytes(32), RAW).error(400)


def test_raw_request_asks_the_version_when_the_path_names_one(http: Http) -> None:
    """A raw request may go to a version too."""
    data = blob(np.array([1, 2, 3], np.float32))
    answer = http.post("/v2/models/fixed/versions/1/infer", data, RAW)
    assert binary_answer(answer)[0]["model_version"] == "1"
    http.post("/v2/models/fixed/versions/9/infer", data, RAW).error(404)

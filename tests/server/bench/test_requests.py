"""Requests against what tritonclient makes and reads of the same tensors."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient import utils

from falaj._core import InvalidInput
from falaj.server import arrays
from falaj.server.bench.requests import grpc_raw, http_binary, http_json, raw
from falaj.server.bench.target import Target

TARGET = Target("http://h:1", "m", parameters={"priority": 1, "s": "x", "big": 2**63, "on": True, "f": 0.5})
_DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32",
    "FP64", "BYTES",
)  # fmt: skip


@pytest.mark.parametrize("datatype", _DATATYPES)
def test_numbers_come_back_when_json_is_read(datatype: str) -> None:
    array = arrays.random(datatype, (2, 3), np.random.default_rng(1))
    headers, body, _ = http_json({"x": (datatype, array)}, TARGET)
    request = json.loads(body)
    (tensor,) = request["inputs"]
    assert headers == [("Content-Type", "application/json")]
    assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("x", [2, 3], datatype)
    back = np.array(tensor["data"]).reshape(2, 3)
    assert (
        back.astype(array.dtype) if datatype != "BYTES" else np.char.encode(back)
    ).tolist() == array.tolist()
    assert request["parameters"] == dict(TARGET.parameters)


@pytest.mark.parametrize("datatype", _DATATYPES)
def test_bytes_are_as_tritonclients_when_tensors_are_raw(datatype: str) -> None:
    array = arrays.random(datatype, (2, 3), np.random.default_rng(2))
    expected = utils.serialize_byte_tensor(array).item() if datatype == "BYTES" else array.tobytes()
    assert raw(datatype, array) == expected
    headers, body, _ = http_binary({"x": (datatype, array)}, TARGET)
    at = int(dict(headers)["Inference-Header-Content-Length"])
    head = json.loads(body[:at])
    assert body[at:] == expected
    assert head["inputs"][0]["parameters"]["binary_data_size"] == len(expected)
    assert head["parameters"]["binary_data_output"] is True


def test_message_is_tritonclients_when_it_reads_it() -> None:
    from tritonclient.grpc import service_pb2

    array = np.array([[1.5, -2]], np.float32)
    _, content, _ = grpc_raw({"x": ("FP32", array)}, TARGET)
    read: Any = service_pb2.ModelInferRequest.FromString(content)
    assert (read.model_name, read.inputs[0].name, list(read.inputs[0].shape)) == ("m", "x", [1, 2])
    assert read.raw_input_contents[0] == array.tobytes()
    assert read.parameters["priority"].uint64_param == 1
    assert read.parameters["big"].uint64_param == 2**63
    assert read.parameters["s"].string_param == "x"
    assert read.parameters["on"].bool_param is True
    assert read.parameters["f"].double_param == 0.5


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_strings_come_back_when_they_are_any_bytes(texts: list[bytes]) -> None:
    array = np.array(texts, dtype=np.object_)
    back = utils.deserialize_bytes_tensor(raw("BYTES", array))
    assert back.tolist() == texts


@pytest.mark.parametrize(
    ("datatype", "array", "complaint"),
    [
        ("FP32", np.array([np.nan], np.float32), "expected finite numbers"),
        ("BF16", np.array([np.inf], ml_dtypes.bfloat16), "expected finite numbers"),
        ("BYTES", np.array([b"\xff"], np.object_), "expected text in UTF-8"),
    ],
)
def test_value_is_refused_when_json_cannot_carry_it(datatype: str, array: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        http_json({"x": (datatype, array)}, TARGET)


def test_parameter_is_refused_when_grpc_cannot_carry_it() -> None:
    with pytest.raises(InvalidInput, match="64 bits"):
        grpc_raw({}, Target("grpc://h:1", "m", parameters={"p": 2**64}))

"""The requests of the wire's benchmarks say what they are meant to."""

import base64
import json

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from benchmarks.wire.bodies import grpc_raw, http_binary, http_json
from falaj.server.grpc.schema import message
from tests import zoo
from tests.zoo import Arrays


@pytest.fixture
def row() -> Arrays:
    return zoo.mlp().sample(np.random.default_rng(5), 3)


def test_json_gives_the_same_floats_back_when_it_is_read(row: Arrays) -> None:
    body = http_json(zoo.mlp(), row, 2)
    (tensor,) = json.loads(body.content)["inputs"]
    assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("x", [3, 32], "FP32")
    np.testing.assert_array_equal(np.array(tensor["data"], np.float32).reshape(3, 32), row["x"])
    assert (body.protocol, body.path, body.length_slack) == ("http", "/v2/models/mlp/infer", 8)


def test_blob_follows_the_announced_header_when_binary(row: Arrays) -> None:
    body = http_binary(zoo.mlp(), row)
    headers = dict(header.split(": ") for header in body.headers)
    length = int(headers["Inference-Header-Content-Length"])
    head = json.loads(body.content[:length])
    assert head["parameters"] == {"binary_data_output": True}
    assert head["inputs"][0]["parameters"] == {"binary_data_size": 3 * 32 * 4}
    assert body.content[length:] == row["x"].tobytes()


def test_protobuf_reads_the_request_when_raw(row: Arrays) -> None:
    body = grpc_raw(zoo.mlp(), row)
    request = message("inference.ModelInferRequest").FromString(body.content)
    read = MessageToDict(request, preserving_proto_field_name=True)
    assert [base64.b64decode(raw) for raw in read.pop("raw_input_contents")] == [row["x"].tobytes()]
    tensor = {"name": "x", "datatype": "FP32", "shape": ["3", "32"]}  # JSON has int64 as text
    assert read == {"model_name": "mlp", "inputs": [tensor]}
